//! CPU time and peak memory of a process and its descendants, from `/proc`.

use std::fs;

/// What a process tree has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The sum of each process's peak resident size, in bytes.
    pub(crate) peak_rss: u64,
}

impl Usage {
    /// The CPU time spent since `earlier`, with the peak of now.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - earlier.cpu_seconds, peak_rss: self.peak_rss }
    }
}

/// The usage of `root` and everything below it. Zero where `/proc` does not exist.
pub(crate) fn of_tree(root: u32) -> Usage {
    let mut total = Usage::default();
    let processes = all();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        if let Some(stat) = processes.iter().find(|stat| stat.id == id) {
            total.cpu_seconds += stat.cpu_seconds;
            total.peak_rss += peak_rss(id).unwrap_or(0);
        }
        waiting.extend(processes.iter().filter(|stat| stat.parent == id).map(|stat| stat.id));
    }
    total
}

struct Stat {
    id: u32,
    parent: u32,
    cpu_seconds: f64,
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| parse_stat(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .collect()
}

/// proc_pid_stat(5): after the name in brackets come state, parent, and as the 12th and 13th from there the user and system ticks.
fn parse_stat(id: u32, text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: f64 = fields.nth(9)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    // The kernel reports in units of 1/100 s on every architecture Rust supports.
    Some(Stat { id, parent, cpu_seconds: (user + system) / 100.0 })
}

fn peak_rss(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_an_awkward_name() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        let stat = parse_stat(7, text).unwrap();
        assert_eq!((stat.id, stat.parent), (7, 3));
        assert!((stat.cpu_seconds - 2.0).abs() < 1e-9);
    }

    #[test]
    fn garbage_stat_is_skipped() {
        assert!(parse_stat(1, "").is_none());
        assert!(parse_stat(1, "1 (x) S").is_none());
    }
}
