//! What a service manager is told, such as systemd: that the server is ready, reads its files again, stops, and is alive. Nothing where
//! there is none. Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::pulse::Pulse;

/// Who is told. Telling may fail, and then nobody is there to be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceManager {
    /// The one that started this process, if one did.
    OfThisProcess,
    /// The process is somebody else's.
    None,
}

impl ServiceManager {
    /// Everything is served, again or at last.
    pub(crate) fn ready(self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// How it is, for people.
    pub(crate) fn status(self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Files are read again, until it is ready.
    pub(crate) fn reloading(self) {
        // The manager orders this by the time among what it asked for.
        let now = NotifyState::monotonic_usec_now();
        let status = NotifyState::Status("reloading");
        match now {
            Ok(now) => self.tell(&[NotifyState::Reloading, now, status]),
            Err(_) => self.tell(&[NotifyState::Reloading, status]),
        }
    }

    pub(crate) fn stopping(self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Says that it is alive as often as the manager wants, as long as all threads are; never ends.
    pub(crate) async fn watch(self, pulse: Pulse) {
        let wanted = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let (Self::OfThisProcess, Some(limit)) = (self, wanted) else { return };
        // As sd_watchdog_enabled(3) advises, less what the answers take.
        let period = limit / 2;
        loop {
            if pulse.beats(period / 2).await {
                self.tell(&[NotifyState::Watchdog]);
            }
            sleep(period.max(Duration::from_millis(10)) / 2).await;
        }
    }

    fn tell(self, what: &[NotifyState<'_>]) {
        if self == Self::OfThisProcess {
            let _ = sd_notify::notify(what);
        }
    }
}
