//! CPU time and memory of processes, as `/proc` has them.

use std::fs;

/// What a process and all below it use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time so far, in seconds; of children that have ended too, once their parent has waited for them.
    pub(crate) cpu_seconds: f64,
    /// Resident memory in bytes, pages shared between them counted each time.
    pub(crate) resident: u64,
}

/// The usage of `root` and its descendants: some servers are a wrapper around a second process, or one process per connection.
pub(crate) fn of_tree(root: u32) -> Usage {
    let all = all();
    let mut total = Usage::default();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        for stat in &all {
            if stat.id == id {
                total.cpu_seconds += stat.cpu_seconds;
                total.resident += resident(id);
            }
            if stat.parent == id {
                waiting.push(stat.id);
            }
        }
    }
    total
}

/// The last of a line of processes that each started one: a program behind what prepares its surroundings.
pub(crate) fn innermost(root: u32) -> u32 {
    let all = all();
    let mut id = root;
    while let Some(child) = all.iter().find(|stat| stat.parent == id) {
        id = child.id;
    }
    id
}

/// Open files of a process.
pub(crate) fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

/// Threads of a process.
pub(crate) fn threads(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count)
}

/// How often the threads of a process were put to sleep or aside: after each they were woken.
pub(crate) fn switches(id: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return 0 };
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
    let count = |line: &str| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok();
    tasks.flatten().map(|task| status(task).lines().filter_map(count).sum::<u64>()).sum()
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
        .filter_map(|id| parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .collect()
}

/// proc_pid_stat(5): behind the name in brackets state, parent, and from the 12th on the ticks: user, system, and those of waited-for
/// children.
fn parse(id: u32, text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let ticks: f64 = fields.skip(9).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    // 100 ticks a second on every Linux that Rust runs on.
    Some(Stat { id, parent, cpu_seconds: ticks / 100.0 })
}

fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// The processor's name.
pub(crate) fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// How busy the machine was lately, as the system says it.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_with_an_awkward_name_is_read() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194560 100 0 0 0 150 50 20 10 20 0 1 0 5 6 7";
        let stat = parse(7, text).unwrap();
        assert_eq!((stat.id, stat.parent), (7, 3));
        assert!((stat.cpu_seconds - 2.3).abs() < 1e-9);
        assert!(parse(1, "").is_none());
    }
}
