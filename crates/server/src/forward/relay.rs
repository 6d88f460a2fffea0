//! Relays a channel and its destination, counts what was moved, and ends flows on which nothing moves.

use std::time::Duration;

use culvert_ssh_tokio::{ChannelStream, Meter, splice};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How often what was moved is passed on while a flow lasts.
const COUNT_PERIOD: Duration = Duration::from_secs(5);

/// Learns what was moved.
pub(crate) trait Moved {
    /// Bytes from the client to the destination.
    fn up(&self, bytes: usize);
    /// Bytes from the destination to the client.
    fn down(&self, bytes: usize);
}

/// Relays until both directions have ended, one has failed, the client has closed the channel, or nothing has moved for
/// `idle`.
pub(crate) async fn relay(
    channel: ChannelStream,
    target: TcpStream,
    moved: &impl Moved,
    idle: Option<Duration>,
) {
    let meter = Meter::default();
    channel.count_with(meter.clone());
    let mut counted = Counted { meter: &meter, moved, up: 0, down: 0 };
    tokio::select! {
        // Either end's failure was told to the other by a reset.
        _ = splice(channel, target) => {}
        () = counted.until_idle(idle) => {}
    }
    counted.pass_on();
}

/// What was passed on so far.
struct Counted<'a, M> {
    meter: &'a Meter,
    moved: &'a M,
    up: u64,
    down: u64,
}

impl<M: Moved> Counted<'_, M> {
    /// Passes on what was moved since the last time; false when that is nothing.
    fn pass_on(&mut self) -> bool {
        let (down, up) = self.meter.totals();
        let (more_up, more_down) = (up - self.up, down - self.down);
        self.up = up;
        self.down = down;
        self.moved.up(usize::try_from(more_up).unwrap_or(usize::MAX));
        self.moved.down(usize::try_from(more_down).unwrap_or(usize::MAX));
        more_up + more_down > 0
    }

    /// Returns when nothing has moved for `idle`; `None` never does. Looks a few times in that time, so a flow may live
    /// a quarter longer than asked for.
    async fn until_idle(&mut self, idle: Option<Duration>) {
        let period = idle.map_or(COUNT_PERIOD, |idle| (idle / 4).min(COUNT_PERIOD));
        let mut quiet = Duration::ZERO;
        loop {
            sleep(period).await;
            quiet = if self.pass_on() { Duration::ZERO } else { quiet + period };
            if idle.is_some_and(|idle| quiet >= idle) {
                return;
            }
        }
    }
}
