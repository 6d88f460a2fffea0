//! Disks that are full, or may not be written: small file systems in memory, which only root may mount.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use culvert_client::store::{Replace, Stored};
use culvert_protocol::server_entry::EntrySource;
use libtest_mimic::Trial;

use super::{Root, entry, open};

/// A check that needs a mount; ignored, with the reason, where that is not allowed.
pub(crate) fn trial(name: &str, check: fn(&Path)) -> Trial {
    let allowed = Mounted::new("probe", "size=1m").is_some();
    let kind = if allowed { "" } else { "needs the right to mount a file system" };
    Trial::test(name, move || {
        let mounted = Mounted::new("disk", "size=6m").ok_or("mounting failed")?;
        check(&mounted.root.0);
        Ok(())
    })
    .with_ignored_flag(!allowed)
    .with_kind(kind)
}

pub(crate) fn full(root: &Path) {
    let opened = open(root);
    let store = &opened.store;
    let list: String = (0..10_000).map(|number| entry(number, 1).encode() + "\n").collect();
    let imported =
        store.import(list.as_bytes(), &EntrySource::Embedded, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((imported.added, store.count()), (10_000, 10_000));
    let warnings = opened.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("in memory only"), "{warnings:?}");
    let id = *store.servers(None).last().unwrap();
    store.set_plan("NET", id, b"plan");
    assert_eq!(store.plan("NET", id).as_deref(), Some(&b"plan"[..]));
    assert!(store.server(id).is_some());
    drop(opened);
    // Still full: what reached the disk is there, and the store can be used.
    let opened = open(root);
    let kept = opened.store.count();
    assert!(kept > 0 && kept < 10_000, "{kept} servers were kept");
    assert!(matches!(
        opened.store.put(&entry(20_000, 1), &EntrySource::Remote, Replace::IfNewer),
        Ok(Stored::Added(_))
    ));
    drop(opened);
    remount(root, "size=64m");
    let opened = open(root);
    assert_eq!(opened.warnings(), Vec::<String>::new());
    opened.store.put(&entry(20_001, 1), &EntrySource::Remote, Replace::IfNewer).unwrap();
    drop(opened);
    assert!(open(root).store.id_of(&entry(20_001, 1)).is_some());
}

pub(crate) fn read_only(root: &Path) {
    open(root).store.put(&entry(1, 1), &EntrySource::Embedded, Replace::IfNewer).unwrap();
    remount(root, "ro");
    let opened = open(root);
    let id = opened.store.id_of(&entry(1, 1)).unwrap();
    opened.store.set_plan("NET", id, b"plan");
    let stored = opened.store.put(&entry(2, 1), &EntrySource::Embedded, Replace::IfNewer).unwrap();
    assert!(matches!(stored, Stored::Added(_)));
    assert_eq!((opened.store.count(), opened.store.replayable("NET")), (2, vec![id]));
    drop(opened);
    assert_eq!(open(root).store.count(), 1);
}

/// A file system in memory, unmounted at the end.
struct Mounted {
    root: Root,
}

impl Mounted {
    fn new(name: &str, options: &str) -> Option<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = Root::new(&format!("{name}-{count}"));
        let mounted = run("mount", &["-t", "tmpfs", "-o", options, "culvert", &root.0.to_string_lossy()]);
        mounted.then_some(Self { root })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[&self.root.0.to_string_lossy()]);
    }
}

fn remount(root: &Path, options: &str) {
    assert!(run("mount", &["-o", &format!("remount,{options}"), &root.to_string_lossy()]));
}

fn run(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}
