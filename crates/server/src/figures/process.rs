//! This process as its system sees it, under the names that all clients of Prometheus use. Source: proc(5);
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::open_files;

/// Ticks a second in files of the system, whatever the kernel's own clock: proc(5), `sysconf(_SC_CLK_TCK)`.
const TICKS: f64 = 100.0;

/// What the system says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// Processor time so far, in seconds.
    pub(crate) cpu: f64,
    /// In bytes.
    pub(crate) resident: u64,
    /// In bytes.
    pub(crate) address_space: u64,
    /// In use by this process alone, in bytes.
    pub(crate) anonymous: u64,
    /// Set aside for data, in bytes.
    pub(crate) data: u64,
    pub(crate) threads: u64,
    pub(crate) open_files: u64,
    /// Seconds of the epoch.
    started: f64,
}

impl Process {
    /// As it is now; what the system does not tell is 0.
    pub(crate) fn now() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mut process = Self { open_files: open_now(), ..Self::default() };
        process.read_stat(&read("/proc/self/stat"), &read("/proc/stat"));
        process.read_status(&read("/proc/self/status"));
        process
    }

    fn read_stat(&mut self, own: &str, host: &str) {
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> =
            own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // proc(5) counts from 1 and the first here is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        self.cpu = (field(14).unwrap_or(0.0) + field(15).unwrap_or(0.0)) / TICKS;
        let boot = host.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        if let (Some(boot), Some(after)) = (boot, field(22)) {
            self.started = boot + after / TICKS;
        }
    }

    fn read_status(&mut self, status: &str) {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let kibibytes = |name| number(name).unwrap_or(0).saturating_mul(1024);
        self.resident = kibibytes("VmRSS");
        self.address_space = kibibytes("VmSize");
        self.anonymous = kibibytes("RssAnon");
        self.data = kibibytes("VmData");
        self.threads = number("Threads").unwrap_or(0);
    }
}

/// Newer systems give the number as the folder's size.
fn open_now() -> u64 {
    let size = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if size > 0 {
        return size;
    }
    // One of them is that of the folder.
    fs::read_dir("/proc/self/fd").map_or(0, |files| (files.count() as u64).saturating_sub(1))
}

/// Gives it to scrapers.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let process = Process::now();
        let help = "Processor time of this process, in user and system mode";
        let cpu = to.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(process.cpu).encode(cpu)?;
        let mut gauge = |name, unit: Option<&Unit>, help, value: f64| {
            ConstGauge::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory and numbers of files are below 2^52")]
        let float = |number: u64| number as f64;
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        gauge(
            "process_resident_memory",
            bytes,
            "Memory of this process that is in use",
            float(process.resident),
        )?;
        gauge(
            "process_virtual_memory",
            bytes,
            "Address space of this process",
            float(process.address_space),
        )?;
        gauge("process_threads", None, "Threads of this process", float(process.threads))?;
        gauge("process_open_fds", None, "Open file descriptors", float(process.open_files))?;
        let most = u64::try_from(open_files::most()).unwrap_or(u64::MAX);
        gauge("process_max_fds", None, "Most file descriptors that may be open", float(most))?;
        gauge(
            "process_start_time",
            seconds,
            "When this process started, in seconds of the epoch",
            process.started,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = Process::now();
        assert!(process.resident > 1 << 20 && process.address_space > process.resident, "{process:?}");
        assert!(process.threads > 0 && process.open_files > 2, "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.started > 1.0e9 && process.started < now + 60.0, "{process:?}");
    }

    #[test]
    fn names_with_spaces_and_parentheses_do_not_confuse() {
        let mut process = Process::default();
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1000 5 6 7";
        process.read_stat(stat, "cpu 1 2\nbtime 1700000000\n");
        assert!((process.cpu - 2.0).abs() < 1e-9 && (process.started - 1_700_000_010.0).abs() < 1e-6);
    }
}
