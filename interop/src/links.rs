//! Somebody who puts symbolic links in place of a program's files while it writes them, so that it writes elsewhere.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// What stands in the file that must not be changed.
const PRECIOUS: &str = "precious";

/// How often to try: many times when `CULVERT_LINKS_LONG` is set.
pub fn tries() -> u32 {
    if std::env::var_os("CULVERT_LINKS_LONG").is_some() { 10_000 } else { 200 }
}

/// The links come and go until this is stopped.
pub struct Links {
    elsewhere: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Links {
    /// In place of these names in a folder, in turn: a link to a file, one to a file that is not there, an empty file, nothing.
    pub fn start(folder: &Path, names: &[&str]) -> io::Result<Self> {
        let mut elsewhere = folder.as_os_str().to_owned();
        elsewhere.push("-elsewhere");
        let elsewhere = PathBuf::from(elsewhere);
        let _ = fs::remove_dir_all(&elsewhere);
        fs::create_dir_all(&elsewhere)?;
        let precious = elsewhere.join(PRECIOUS);
        fs::write(&precious, PRECIOUS)?;
        let stop = Arc::new(AtomicBool::new(false));
        let targets = [precious, elsewhere.join("none")];
        let (paths, stopped) = (names.iter().map(|name| folder.join(name)).collect::<Vec<_>>(), stop.clone());
        let fresh = folder.join("link.fresh");
        let thread = spawn(move || {
            let mut placed = 0;
            while !stopped.load(Ordering::Relaxed) {
                for path in &paths {
                    for target in &targets {
                        // The program removes and renames too.
                        if symlink(target, &fresh).is_ok() && fs::rename(&fresh, path).is_ok() {
                            placed += 1;
                        }
                        std::thread::yield_now();
                    }
                    if placed % 2 == 0 {
                        let _ = fs::remove_file(path);
                    } else if fs::write(&fresh, "").is_ok() {
                        let _ = fs::rename(&fresh, path);
                    }
                }
            }
            placed
        });
        Ok(Self { elsewhere, stop, thread: Some(thread) })
    }

    /// What was written elsewhere so far.
    pub fn damage(&self) -> Option<String> {
        let precious = fs::read_to_string(self.elsewhere.join(PRECIOUS)).unwrap_or_default();
        if precious != PRECIOUS {
            return Some(format!("a file elsewhere reads {precious:?}"));
        }
        let made = fs::read_dir(&self.elsewhere).into_iter().flatten().flatten();
        let made = made.map(|entry| entry.path()).find(|path| !path.ends_with(PRECIOUS));
        made.map(|path| format!("{} was made", path.display()))
    }

    /// Ends it; fails if anything was written elsewhere, or if no link was ever placed.
    pub fn stop(mut self) {
        let damage = self.damage();
        let placed = self.end();
        assert!(damage.is_none(), "{}", damage.unwrap_or_default());
        assert!(placed > 0, "no link was placed");
    }

    fn end(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let placed = self.thread.take().map_or(0, |thread| thread.join().unwrap_or(0));
        let _ = fs::remove_dir_all(&self.elsewhere);
        placed
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn who_follows_links_is_found_out() {
        let folder = std::env::temp_dir().join(format!("culvert-links-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let links = Links::start(&folder, &["file"]).unwrap();
        let began = SystemTime::now();
        while links.damage().is_none() {
            assert!(began.elapsed().unwrap_or_default() < Duration::from_secs(30), "no link was followed");
            let _ = fs::write(folder.join("file"), "changed");
        }
        drop(links);
        fs::remove_dir_all(&folder).unwrap();
    }
}
