//! What the whole host does, between two looks: its processors and its network. Source: proc(5).

use std::fs;

/// Interfaces that carry what others carry too, as the reference leaves them out.
const NOT_COUNTED: [&str; 4] = ["lo", "tun", "ipsec", "ppp"];

/// The counters of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostCounters {
    /// Of all processors, in ticks.
    busy: u64,
    all: u64,
    received: u64,
    sent: u64,
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HostLoad {
    /// Of all processors together, 0 to 100.
    pub(super) cpu_percent: f64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl HostCounters {
    pub(super) fn now() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(&read("/proc/stat"), &read("/proc/net/dev"))
    }

    fn of(stat: &str, devices: &str) -> Self {
        let times = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let times: Vec<u64> = times.split_whitespace().filter_map(|time| time.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; those of guests are in the first two.
        let all: u64 = times.iter().take(8).sum();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        let mut counters = Self { busy: all.saturating_sub(idle), all, received: 0, sent: 0 };
        for line in devices.lines() {
            let Some((name, numbers)) = line.split_once(':') else { continue };
            if NOT_COUNTED.iter().any(|kind| name.trim().starts_with(kind)) {
                continue;
            }
            let numbers: Vec<u64> =
                numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            counters.received = counters.received.saturating_add(numbers.first().copied().unwrap_or(0));
            counters.sent = counters.sent.saturating_add(numbers.get(8).copied().unwrap_or(0));
        }
        counters
    }

    /// What happened since. Counters that went back, because an interface went, count as nothing.
    pub(super) fn since(self, before: Self) -> HostLoad {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        #[expect(clippy::cast_precision_loss, reason = "ticks of one period")]
        let percent = if all == 0 { 0.0 } else { 100.0 * busy as f64 / all as f64 };
        HostLoad {
            cpu_percent: percent,
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told() {
        let devices = "Inter-|   Receive\n face |bytes packets\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 100 1 0 0 0 0 0 0 50 0\n tun0:7 0 0 0 0 0 0 0 7 0\n eth1:1 0 0 0 0 0 0 0 2 0\n";
        let before = HostCounters::of("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1\n", "");
        let after = HostCounters::of("cpu  150 0 150 1000 100 0 0 0 0 0\n", devices);
        assert_eq!(after.since(before), HostLoad { cpu_percent: 25.0, received: 101, sent: 52 });
        assert_eq!(before.since(after), HostLoad { cpu_percent: 0.0, received: 0, sent: 0 });
        assert!(HostCounters::now().all > 0);
    }
}
