//! Relays a channel and its destination, and ends flows on which nothing moves.

use std::time::Duration;

use culvert_ssh_tokio::{ChannelStream, Meter, splice};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How often it is looked whether something moved, in the time after which a flow is idle.
const LOOKS: u32 = 4;

/// Relays until both directions have ended, one has failed, the client has closed the channel, or nothing has moved for
/// `idle`. What moves is counted by `meter`.
pub(crate) async fn relay(channel: ChannelStream, target: TcpStream, meter: &Meter, idle: Option<Duration>) {
    channel.count_with(meter.clone());
    tokio::select! {
        // Either end's failure was told to the other by a reset.
        _ = splice(channel, target) => {}
        () = until_idle(meter, idle) => {}
    }
}

/// Returns when nothing has moved for `idle`, or up to a part of it longer; `None` never does.
async fn until_idle(meter: &Meter, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    let (mut seen, mut quiet) = (meter.totals(), 0);
    while quiet < LOOKS {
        sleep(idle / LOOKS).await;
        let now = meter.totals();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
}
