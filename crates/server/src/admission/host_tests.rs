//! A host made of files.

use super::*;

struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("culvert-host-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn memory(&self) -> u32 {
        Host::below(&self.0).memory_percent().unwrap().round() as u32
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    700 kB\n";

#[test]
fn the_tightest_limit_counts() {
    let groups = [
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "0::/system.slice/psiphond.service\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "2000000\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "1200000\n"),
        ("sys/fs/cgroup/system.slice/memory.stat", "anon 5\ninactive_file 200000\n"),
        ("sys/fs/cgroup/system.slice/psiphond.service/memory.max", "max\n"),
    ];
    let root = Root::new("v2", &groups);
    assert_eq!(root.memory(), 50, "files that can be read again do not count");
    assert_eq!(Host::below(&root.0).memory_limit(), Some(2_000_000));
    let slowed = root.0.join("sys/fs/cgroup/system.slice/memory.high");
    fs::write(&slowed, "1600000\n").unwrap();
    assert_eq!(root.memory(), 63, "beyond it everybody is slowed down");
    assert_eq!(Host::below(&root.0).memory_limit(), Some(1_600_000));
    fs::write(&slowed, "max\n").unwrap();
    fs::write(root.0.join(groups[3].0), "300000").unwrap();
    assert_eq!(root.memory(), 30, "the host's own");
}

#[test]
fn version_one_is_understood() {
    let root = Root::new(
        "v1",
        &[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:cpu,memory:/docker/0123\n1:cpuset:/\n"),
            // A container sees its own group at the root.
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "950000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 50000\n"),
        ],
    );
    assert_eq!(root.memory(), 90);
}

#[test]
fn no_limit_is_none() {
    let root = Root::new(
        "none",
        &[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "950000\n"),
        ],
    );
    assert_eq!(root.memory(), 30);
    assert_eq!(Host::below(Path::new("/nowhere")).memory_percent(), None);
}

#[test]
fn processor_time_is_of_the_right_fields() {
    let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 6 7 20 0 3 0 1 1 1";
    assert_eq!(processor_time(stat), Some(Duration::from_secs(3)));
    assert_eq!(processor_time("7 (a"), None);
}

#[test]
fn this_host_tells() {
    let mut host = Host::new();
    assert!(host.memory_percent().is_some_and(|percent| (0.0..=100.0).contains(&percent)));
    let now = Instant::now();
    assert_eq!(host.cpu_percent(now), None, "nothing to compare with");
    assert!(host.cpu_percent(now + Duration::from_secs(1)).is_some_and(|percent| percent <= 100.0));
}
