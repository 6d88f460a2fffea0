//! Relays a channel and its destination, and ends flows on which nothing moves.

use culvert_ssh_tokio::{ChannelStream, splice};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::flows::Place;

/// How often it is looked whether something moved, in the time after which a flow is idle.
const LOOKS: u32 = 4;

/// Relays until both directions have ended, one has failed, the client has closed the channel, or nothing has moved for
/// longer than the rules allow. What moves is counted by the meter of the flow's place.
pub(crate) async fn relay(channel: ChannelStream, target: TcpStream, place: &Place) {
    channel.count_with(place.meter().clone());
    tokio::select! {
        // Either end's failure was told to the other by a reset.
        _ = splice(channel, target) => {}
        () = until_idle(place) => {}
    }
}

/// Returns when nothing has moved for as long as it may, or up to a part of it longer.
async fn until_idle(place: &Place) {
    let (mut seen, mut quiet) = (place.meter().totals(), 0);
    while quiet < LOOKS {
        let ruled_anew = place.flows().ruled_anew();
        let Some(idle) = place.idle_timeout() else {
            ruled_anew.await;
            quiet = 0;
            continue;
        };
        tokio::select! {
            () = sleep(idle / LOOKS) => {
                let now = place.meter().totals();
                quiet = if now == seen { quiet + 1 } else { 0 };
                seen = now;
            }
            // Quiet until now is quiet, but for how long it may be is another question.
            () = ruled_anew => quiet = 0,
        }
    }
}
