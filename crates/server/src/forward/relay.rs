//! Relays a channel and its destination, and ends flows on which nothing moves.

use std::time::Duration;

use culvert_ssh_tokio::{ChannelStream, Meter, splice};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::flows::Place;

/// How often a flow is looked at, at least.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Relays until both directions have ended, one has failed, the client has closed the channel, or nothing has moved for
/// as long as the rules allow.
pub(crate) async fn relay(channel: ChannelStream, target: TcpStream, place: &Place) {
    let meter = place.meter();
    channel.count_with(meter.clone());
    tokio::select! {
        // Either end's failure was told to the other by a reset.
        _ = splice(channel, target) => {}
        () = until_idle(&meter, place) => {}
    }
}

/// Returns when nothing has moved for the time that the rules allow; without a limit, never. Looks a few times in that
/// time, so a flow may live a quarter longer.
async fn until_idle(meter: &Meter, place: &Place) {
    let limit = place.idle_timeout();
    let period = limit.map_or(LOOK_PERIOD, |limit| (limit / 4).min(LOOK_PERIOD));
    let mut quiet = Duration::ZERO;
    let mut seen = meter.totals();
    loop {
        sleep(period).await;
        let now = meter.totals();
        if now == seen {
            quiet += period;
        } else {
            quiet = Duration::ZERO;
            place.used();
        }
        seen = now;
        if limit.is_some_and(|limit| quiet >= limit) {
            return;
        }
    }
}
