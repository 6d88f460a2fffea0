//! What the host and this process use: processor time and memory, under the limits of control groups. Linux tells in files, some of which may
//! be hidden from a service; what cannot be read limits nothing. Sources: proc_pid_stat(5), proc_pid_statm(5), proc_meminfo(5), cgroups(7), and the
//! kernel's documentation of memory in control groups, versions 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::memory;

/// Processor time is told in these (sysconf(3), `_SC_CLK_TCK`; Linux has no other value for programs).
const TICKS_PER_SECOND: u64 = 100;

/// Where the kernel tells.
#[derive(Debug)]
pub(crate) struct Host {
    process: PathBuf,
    meminfo: PathBuf,
    /// Control groups that this process is in, the innermost first.
    groups: Vec<Group>,
    /// Processors that it may use.
    processors: u32,
    before: Option<(Instant, Duration)>,
}

/// A control group's files about memory.
#[derive(Debug)]
struct Group {
    /// Beyond the least of these its processes are ended, or slowed down to no use.
    limits: Vec<PathBuf>,
    usage: PathBuf,
    stat: PathBuf,
    /// What `stat` calls pages of files that nobody needs at once.
    reclaimable: &'static str,
}

impl Group {
    fn v1(folder: &Path) -> Self {
        Self {
            limits: vec![folder.join("memory.limit_in_bytes")],
            usage: folder.join("memory.usage_in_bytes"),
            stat: folder.join("memory.stat"),
            reclaimable: "total_inactive_file",
        }
    }

    fn v2(folder: &Path) -> Self {
        Self {
            limits: vec![folder.join("memory.max"), folder.join("memory.high")],
            usage: folder.join("memory.current"),
            stat: folder.join("memory.stat"),
            reclaimable: "inactive_file",
        }
    }

    fn exists(&self) -> bool {
        self.limits.iter().any(|limit| limit.exists())
    }

    /// The least; 0 is none.
    fn limit(&self) -> Option<u64> {
        self.limits.iter().filter_map(|limit| number(limit)).filter(|limit| *limit > 0).min()
    }

    /// How much of what it may use is in use. `None`: it has no limit.
    fn percent(&self, physical: u64) -> Option<f64> {
        let limit = self.limit().filter(|limit| *limit < physical)?;
        let usage = number(&self.usage)?;
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let reclaimable = named(&stat, self.reclaimable, ' ').unwrap_or(0);
        Some(percent(usage.saturating_sub(reclaimable), limit))
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let process = root.join("proc/self");
        let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        Self {
            meminfo: root.join("proc/meminfo"),
            groups: groups(&cgroup, &root.join("sys/fs/cgroup")),
            process,
            // Knows quotas and affinity.
            processors: thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            before: None,
        }
    }

    /// How much of the processors that it may use this process has used since the last call. `None` at the first, or if it cannot be told.
    pub(crate) fn cpu_percent(&mut self, now: Instant) -> Option<f64> {
        let used = processor_time(&fs::read_to_string(self.process.join("stat")).ok()?)?;
        let (then, used_then) = self.before.replace((now, used))?;
        let passed = now.saturating_duration_since(then) * self.processors;
        if passed.is_zero() {
            return None;
        }
        let share = used.saturating_sub(used_then).as_secs_f64() / passed.as_secs_f64();
        Some((share * 100.0).min(100.0))
    }

    /// How much of the memory is in use: of the tightest of the host's and the control groups'.
    pub(crate) fn memory_percent(&self) -> Option<f64> {
        let physical = memory::physical()?;
        let groups = self.groups.iter().filter_map(|group| group.percent(physical));
        groups
            .chain(self.host_memory(physical))
            .fold(None, |most: Option<f64>, it| Some(most.map_or(it, |most| most.max(it))))
    }

    /// The host's; where it is hidden, what this process has of it.
    fn host_memory(&self, physical: u64) -> Option<f64> {
        if let Ok(text) = fs::read_to_string(&self.meminfo) {
            let total = named(&text, "MemTotal", ':')?;
            return Some(percent(total.saturating_sub(named(&text, "MemAvailable", ':')?), total));
        }
        let text = fs::read_to_string(self.process.join("statm")).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(percent(pages.saturating_mul(memory::page_size()?), physical))
    }

    /// The least that the host and the control groups allow.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        let physical = memory::physical()?;
        Some(self.groups.iter().filter_map(Group::limit).fold(physical, u64::min))
    }
}

/// The groups that have limits on memory, with all that they are in.
fn groups(cgroup: &str, mount: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let is_v1 = controllers.split(',').any(|name| name == "memory");
        if !is_v1 && !controllers.is_empty() {
            continue;
        }
        let mount = if is_v1 { mount.join("memory") } else { mount.to_owned() };
        let group = if is_v1 { Group::v1 } else { Group::v2 };
        let path = Path::new(path.trim_start_matches('/'));
        // A container's own view begins at its group, which its path does not tell.
        let folders = path.ancestors().map(|folder| mount.join(folder));
        groups.extend(folders.map(|folder| group(&folder)).filter(Group::exists));
    }
    groups
}

/// User and system time of `/proc/PID/stat`, in which the second field may hold anything in its parentheses.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(Duration::from_millis(user.checked_add(system)?.checked_mul(1000 / TICKS_PER_SECOND)?))
}

/// The number behind a name and a separator, at the beginning of a line.
fn named(text: &str, name: &str, separator: char) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(separator))?;
    line.split_whitespace().next()?.parse().ok()
}

fn number(file: &Path) -> Option<u64> {
    // `max` is no limit.
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64 * 100.0
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
