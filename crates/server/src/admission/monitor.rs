//! Looks at the host each second and tells the door what it sees. How long handshakes wait for a processor is what the threads that serve
//! them wait for it: each has a clock that should tick four times a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::load::{Load, PERIOD, Sample};
use super::{Door, Host, Shut};
use crate::config::LoadLimits;
use crate::log::{Field, Logger};
use crate::services::Services;

/// How often the clock of a thread ticks.
const TICK: Duration = Duration::from_millis(250);

/// The clocks of all threads.
#[derive(Debug)]
pub(crate) struct Clocks {
    began: Instant,
    /// Those of threads that have ended are gone.
    all: Mutex<Vec<Weak<Clock>>>,
}

/// One thread's, in microseconds since the beginning.
#[derive(Debug)]
struct Clock {
    due: AtomicU64,
    /// The latest tick since this was last asked.
    latest: AtomicU64,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), all: Mutex::default() }
    }

    /// Keeps this thread's clock; never ends.
    pub(crate) async fn tick(&self) {
        let clock = Arc::new(Clock { due: AtomicU64::new(self.now()), latest: AtomicU64::new(0) });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&clock));
        loop {
            let due = self.now() + micros(TICK);
            clock.due.store(due, Ordering::Relaxed);
            sleep(TICK).await;
            clock.latest.fetch_max(self.now().saturating_sub(due), Ordering::Relaxed);
        }
    }

    /// How late a thread was lately, or is now.
    pub(crate) fn delay(&self) -> Duration {
        let now = self.now();
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let delays = all.iter().filter_map(Weak::upgrade).map(|clock| {
            let late = now.saturating_sub(clock.due.load(Ordering::Relaxed));
            clock.latest.swap(0, Ordering::Relaxed).max(late)
        });
        Duration::from_micros(delays.max().unwrap_or(0))
    }

    fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What looks at the host.
#[derive(Debug)]
pub(crate) struct Monitor {
    host: Host,
    load: Load,
    limits: LoadLimits,
    shut: Option<Shut>,
}

impl Monitor {
    pub(crate) fn new(limits: LoadLimits) -> Self {
        Self { host: Host::new(), load: Load::new(&limits), limits, shut: None }
    }

    /// Looks from time to time; never ends.
    pub(crate) async fn watch(mut self, services: Arc<Services>) {
        let mut looks = interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(&services.clocks, services.sessions.len(), &services.door, &services.log);
            services.figures.overloaded(self.shut.and_then(Shut::load));
        }
    }

    /// Takes a sample, and shuts or opens the door.
    fn look(&mut self, clocks: &Clocks, tunnels: usize, door: &Door, log: &Logger) {
        let sample = Sample {
            cpu_percent: self.limits.cpu_percent.and_then(|_| self.host.cpu_percent(Instant::now())),
            memory_percent: self.limits.memory_percent.and_then(|_| self.host.memory_percent()),
            tunnels,
            handshake_delay: clocks.delay(),
        };
        let shut = self.load.take(&sample);
        if shut == self.shut {
            return;
        }
        self.shut = shut;
        door.overload(shut);
        let mut fields = vec![("establish", Field::from(shut.is_none()))];
        fields.extend(shut.map(|reason| ("reason", reason.as_str().into())));
        fields.extend(sample.cpu_percent.map(|percent| ("cpuPercent", rounded(percent))));
        fields.extend(sample.memory_percent.map(|percent| ("memoryPercent", rounded(percent))));
        let delay = sample.handshake_delay.as_secs_f64() * 1000.0;
        fields.extend([("tunnels", tunnels.into()), ("handshakeDelayMilliseconds", rounded(delay))]);
        log.info("establishing tunnels", fields);
    }
}

fn rounded(value: f64) -> Field {
    value.round().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, Origin};

    #[test]
    fn the_door_is_told_and_the_log_says_why() {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let (door, clocks) = (Door::default(), Clocks::new());
        let mut monitor = Monitor::new(LoadLimits { tunnels: 10, ..LoadLimits::default() });
        for (tunnels, shut) in [(9, None), (10, Some(Shut::Tunnels)), (10, Some(Shut::Tunnels)), (2, None)] {
            monitor.look(&clocks, tunnels, &door, &log);
            assert_eq!(door.shut(), shut);
        }
        let text = captured.text();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["reason"], &lines[0]["establish"]), (&"tunnels".into(), &false.into()));
        assert_eq!(lines[1]["establish"], true);
    }

    #[test]
    fn a_thread_that_does_something_else_is_late() {
        let clocks = Arc::new(Clocks::new());
        assert_eq!(clocks.delay(), Duration::ZERO, "no threads");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let ticking = clocks.clone();
            tokio::spawn(async move { ticking.tick().await });
            tokio::task::yield_now().await;
            std::thread::sleep(TICK * 2);
            assert!(clocks.delay() >= TICK, "it should have ticked");
            sleep(Duration::from_millis(1)).await;
            assert!(clocks.delay() >= TICK, "it has ticked late");
        });
    }
}
