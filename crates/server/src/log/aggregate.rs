//! Lines that attackers could cause without end, written at most once an interval and kind, with a count.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Field, Level, Logger};

/// Counts occurrences by kind. The first of a kind is written at once; those that follow within the interval are
/// counted and written as one line when it has passed.
#[derive(Debug)]
pub struct Aggregated {
    log: Logger,
    level: Level,
    message: &'static str,
    interval: Duration,
    windows: Mutex<BTreeMap<&'static str, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Occurrences not written yet.
    count: u64,
}

impl Aggregated {
    pub fn new(log: Logger, level: Level, message: &'static str, interval: Duration) -> Self {
        Self { log, level, message, interval, windows: Mutex::default() }
    }

    /// Counts one occurrence. Kinds are compiled in, so their number is bounded.
    pub fn record(&self, kind: &'static str) {
        self.record_at(kind, Instant::now());
    }

    fn record_at(&self, kind: &'static str, now: Instant) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match windows.get_mut(kind) {
            Some(window) => {
                window.count += 1;
                now.saturating_duration_since(window.began) >= self.interval
            }
            None => {
                windows.insert(kind, Window { began: now, count: 1 });
                true
            }
        };
        if let (true, Some(window)) = (due, windows.get_mut(kind)) {
            self.write(kind, window, now);
        }
    }

    /// Writes what has waited for an interval or longer; to be called from time to time.
    pub fn write_due(&self) {
        self.write_waiting(Instant::now(), self.interval);
    }

    /// Writes everything counted so far; to be called at the end.
    pub fn write_all(&self) {
        self.write_waiting(Instant::now(), Duration::ZERO);
    }

    fn write_waiting(&self, now: Instant, at_least: Duration) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, window) in windows.iter_mut() {
            if now.saturating_duration_since(window.began) >= at_least && window.count > 0 {
                self.write(kind, window, now);
            }
        }
        windows.retain(|_, window| now.saturating_duration_since(window.began) < self.interval);
    }

    fn write(&self, kind: &'static str, window: &mut Window, now: Instant) {
        let fields: [(&str, Field); 2] = [("reason", kind.into()), ("count", window.count.into())];
        self.log.line(self.level, self.message, fields);
        *window = Window { began: now, count: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_then_one_with_its_count() {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let failures =
            Aggregated::new(log, Level::Warning, "authentication failures", Duration::from_secs(1800));
        let start = Instant::now();
        let counts = || -> Vec<(String, u64)> {
            let lines = captured.text();
            let values = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            values.map(|v| (v["reason"].as_str().unwrap().to_owned(), v["count"].as_u64().unwrap())).collect()
        };
        for second in 0..1000 {
            failures.record_at("password", start + Duration::from_secs(second));
        }
        failures.record_at("user", start);
        assert_eq!(counts(), [("password".into(), 1), ("user".into(), 1)]);
        failures.record_at("password", start + Duration::from_secs(1800));
        assert_eq!(counts().last(), Some(&("password".into(), 1000)));
        failures.record_at("password", start + Duration::from_secs(1801));
        failures.write_waiting(start + Duration::from_secs(1802), Duration::ZERO);
        assert_eq!(counts().last(), Some(&("password".into(), 1)));
        failures.write_waiting(start + Duration::from_secs(9999), Duration::ZERO);
        assert_eq!(counts().len(), 4, "nothing is written when nothing happened");
    }
}
