//! The embedded list of servers, `-serverList`: looked at before anything is opened, imported while the client starts.
//! The client waits for the first servers of it only when it knows none.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use culvert_client::notice::{Notice, Notices};
use culvert_client::store::{ImportError, Imported, Progress, Store};
use culvert_protocol::server_entry::{DecodeError, EntrySource, ListDecoder, ListLine};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

/// Read at once.
const PIECE: usize = 64 << 10;
/// Between two notices of progress.
const SERVERS_PER_NOTICE: u64 = 10_000;
/// Lines of a bad list that are named.
const MOST_NAMED: usize = 3;

/// A list that holds at least one server, or nothing.
#[derive(Debug)]
pub struct ServerList {
    path: PathBuf,
    file: File,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerListError {
    #[error("-serverList: {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("-serverList: {} holds no server entry, though {bad} lines{}", .path.display(), named(.path, .first))]
    NoEntry { path: PathBuf, bad: u64, first: Vec<(usize, DecodeError)> },
}

fn named(path: &Path, first: &[(usize, DecodeError)]) -> String {
    first.iter().map(|(line, error)| format!("\n{}:{line}: {error}", path.display())).collect()
}

impl ServerList {
    /// Opens a list and reads it to its first good line.
    pub fn open(path: &Path) -> Result<Self, ServerListError> {
        let unreadable = |source| ServerListError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let first = look(&mut file).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        match first {
            Looked::Bad { bad, first } => Err(ServerListError::NoEntry { path: path.to_owned(), bad, first }),
            Looked::Usable => Ok(Self { path: path.to_owned(), file }),
        }
    }

    /// Imports it in the background; within a runtime.
    pub(super) fn import(self, store: Store, notices: Notices, announces_regions: bool) -> Importing {
        let (usable, became_usable) = watch::channel(false);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = spawn_blocking(move || {
            let name = self.path.display().to_string();
            let mut said = 0;
            let progress = |progress: Progress| {
                usable.send_replace(true);
                if progress.entries >= said + SERVERS_PER_NOTICE {
                    said = progress.entries;
                    notices.info(format!("{name}: {said} servers read"));
                }
                if stopped.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let list = BufReader::with_capacity(PIECE, self.file);
            report(&name, store.import(list, &EntrySource::Embedded, progress), &notices);
            if announces_regions {
                notices.emit(Notice::AvailableEgressRegions { regions: store.regions() });
            }
        });
        Importing { became_usable, stop, task }
    }
}

/// An import that runs.
pub(super) struct Importing {
    became_usable: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Importing {
    /// Waits until some of the list is stored, or it has ended.
    pub(super) async fn usable(&mut self) {
        // An error is an import that has ended.
        drop(self.became_usable.wait_for(|usable| *usable).await);
    }

    /// Ends the import soon; what is stored stays.
    pub(super) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic has been reported as such.
        drop(self.task.await);
    }
}

fn report(name: &str, imported: Result<Imported, ImportError>, notices: &Notices) {
    match imported {
        Ok(imported) => {
            let Imported { added, replaced, kept, bad, .. } = &imported;
            let early = if imported.stopped { ", stopped early" } else { "" };
            notices.info(format!(
                "{name}: {added} servers added, {replaced} replaced, {kept} known, {bad} wrong lines{early}"
            ));
            for line in &imported.first_bad {
                notices.warning(format!("{name}: {line}"));
            }
        }
        Err(error) => notices.error(format!("{name}: importing servers: {error}")),
    }
}

/// What stands at the beginning of a list.
enum Looked {
    /// An entry, or nothing at all.
    Usable,
    Bad {
        bad: u64,
        first: Vec<(usize, DecodeError)>,
    },
}

fn look(file: &mut File) -> io::Result<Looked> {
    let good = Cell::new(false);
    let (mut bad, mut first) = (0, Vec::new());
    let mut each = |line: ListLine| match line.entry {
        Ok(_) => good.set(true),
        Err(error) => {
            bad += 1;
            if first.len() < MOST_NAMED {
                first.push((line.number, error));
            }
        }
    };
    let mut list = BufReader::with_capacity(PIECE, file.by_ref());
    let mut decoder = ListDecoder::new();
    loop {
        let piece = list.fill_buf()?;
        let len = piece.len();
        if len == 0 {
            decoder.finish(&mut each);
            break;
        }
        decoder.push(piece, &mut each);
        list.consume(len);
        if good.get() {
            break;
        }
    }
    Ok(if good.get() || bad == 0 { Looked::Usable } else { Looked::Bad { bad, first } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, text: &str) -> Result<ServerList, ServerListError> {
        let path = std::env::temp_dir().join(format!("culvert-list-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let opened = ServerList::open(&path);
        std::fs::remove_file(&path).unwrap();
        opened
    }

    fn entry() -> String {
        let fields = br#"{"ipAddress":"192.0.2.7","capabilities":["OSSH"]}"#;
        culvert_protocol::EntryFields::from_json(fields).unwrap().encode()
    }

    #[test]
    fn a_list_with_one_good_line_is_taken() {
        list("good", &format!("x\n{}\n", entry())).unwrap();
        list("empty", "\n\n").unwrap();
    }

    #[test]
    fn a_list_without_any_is_refused_and_its_lines_named() {
        let error = list("bad", "x\n\n00\nzz\nyy\n").unwrap_err().to_string();
        assert!(error.contains("holds no server entry, though 4 lines"), "{error}");
        assert!(error.contains(":1: ") && error.contains(":3: ") && error.contains(":4: "), "{error}");
        assert_eq!(error.lines().count(), 4, "{error}");
        let missing = ServerList::open(Path::new("no/such/list")).unwrap_err().to_string();
        assert!(missing.contains("no/such/list"), "{missing}");
    }

    #[tokio::test]
    async fn an_import_says_what_came_of_it() {
        let store = Store::in_memory();
        let (sender, mut said) = tokio::sync::mpsc::channel(8);
        let notices = Notices::new(vec![culvert_client::notice::Sink::Channel(sender)]);
        notices.show(culvert_client::notice::Detail::Diagnostic, [].into());
        let list = list("import", &format!("{}\nx\n", entry())).unwrap();
        let mut importing = list.import(store.clone(), notices, true);
        importing.usable().await;
        assert_eq!(store.count(), 1);
        importing.stop().await;
        let all: Vec<String> =
            std::iter::from_fn(|| said.try_recv().ok()).map(|said| said.to_json()).collect();
        assert!(all[0].contains("1 servers added, 0 replaced, 0 known, 1 wrong lines"), "{all:?}");
        assert!(all[1].contains("line 2: not a server entry"), "{all:?}");
        assert!(all[2].contains("AvailableEgressRegions"), "{all:?}");
    }
}
