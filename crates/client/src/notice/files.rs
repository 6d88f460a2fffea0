//! Notices in files: one that is moved aside when it has grown, with one old one kept, and one of home pages.
//!
//! Source: the reference's `UseNoticeFiles`. What is only for the user never goes into the file that is sent in when
//! something does not work.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Emitted, Notice};
use crate::private_file::private;

/// Where the files are and how they grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeFiles {
    /// The folder that gets them.
    pub folder: PathBuf,
    pub limits: NoticeFileLimits,
}

/// How the file of notices grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeFileLimits {
    /// The size at which it is moved aside, in bytes.
    pub size: u64,
    /// Notices between two syncs to the disk.
    pub sync_every: u32,
}

impl Default for NoticeFileLimits {
    fn default() -> Self {
        Self { size: 1 << 20, sync_every: 100 }
    }
}

/// The file of all notices.
const NOTICES: &str = "notices";
/// What it was before it was moved aside.
const OLD_NOTICES: &str = "notices.1";
/// The file of the last home pages.
const HOMEPAGE: &str = "homepage";

impl NoticeFiles {
    /// The path of the file of notices.
    pub fn notices(&self) -> PathBuf {
        self.folder.join(NOTICES)
    }

    /// The path of what it was before it was moved aside.
    pub fn old_notices(&self) -> PathBuf {
        self.folder.join(OLD_NOTICES)
    }

    /// The path of the file of home pages.
    pub fn homepage(&self) -> PathBuf {
        self.folder.join(HOMEPAGE)
    }
}

/// The open files.
#[derive(Debug)]
pub struct Files {
    notices: Rotating,
    homepages: Homepages,
}

impl Files {
    pub(super) fn open(files: NoticeFiles) -> io::Result<Self> {
        let homepages = Homepages::open(&files.homepage())?;
        Ok(Self { notices: Rotating::open(files)?, homepages })
    }

    pub(super) fn write(&mut self, emitted: &Emitted) -> io::Result<()> {
        let line = emitted.to_json();
        match emitted.notice {
            // For the user's eyes, with an address that is hidden anywhere else.
            Notice::ClientAddress { .. } => return Ok(()),
            Notice::Homepage { .. } => self.homepages.write(&line)?,
            _ => self.homepages.end(),
        }
        self.notices.write(&line)
    }
}

/// The open file of notices.
#[derive(Debug)]
struct Rotating {
    files: NoticeFiles,
    file: File,
    size: u64,
    unsynced: u32,
}

impl Rotating {
    fn open(files: NoticeFiles) -> io::Result<Self> {
        let file = private().create(true).append(true).open(files.notices())?;
        let size = file.metadata()?.len();
        Ok(Self { files, file, size, unsynced: 0 })
    }

    /// Adds a line. What cannot be moved aside is not written to either, so that the limit holds.
    fn write(&mut self, line: &str) -> io::Result<()> {
        let len = line.len() as u64 + 1;
        if self.size > 0 && self.size + len > self.files.limits.size {
            self.file.sync_all()?;
            std::fs::rename(self.files.notices(), self.files.old_notices())?;
            self.file = private().create(true).append(true).open(self.files.notices())?;
            (self.size, self.unsynced) = (0, 0);
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.size += len;
        self.unsynced += 1;
        if self.unsynced >= self.files.limits.sync_every {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// The open file of home pages.
#[derive(Debug)]
struct Homepages {
    file: File,
    /// The next home page is of another tunnel than the last one.
    begin: bool,
}

impl Homepages {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: private().create(true).write(true).truncate(true).open(path)?, begin: true })
    }

    /// Notes that something other than a home page came: a tunnel's home pages come in one go.
    fn end(&mut self) {
        self.begin = true;
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if std::mem::take(&mut self.begin) {
            self.file.set_len(0)?;
            io::Seek::rewind(&mut self.file)?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::notice::{Detail, Form, FreeText, Notices, Sink};

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("culvert-notice-files-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn files(&self, size: u64) -> NoticeFiles {
            NoticeFiles { folder: self.0.clone(), limits: NoticeFileLimits { size, sync_every: 2 } }
        }

        fn kinds(&self, name: &str) -> Vec<String> {
            let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
            let kind = |line: &str| {
                let notice: serde_json::Value = serde_json::from_str(line).unwrap();
                notice["noticeType"].as_str().unwrap().to_owned()
            };
            text.lines().map(kind).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn each_notice_goes_where_it_belongs() {
        let folder = Folder::new("belongs");
        let stream = Sink::file(&folder.0.join("stream"), Form::Json).unwrap();
        let notices = Notices::new(vec![stream]);
        notices.show(Detail::Diagnostic, [crate::notice::Topic::ClientAddress].into());
        notices.keep_files(folder.files(1 << 20)).unwrap();
        notices.info("diagnostic");
        notices.emit(Notice::Tunnels { count: 1 });
        notices.emit(Notice::ClientAddress { address: "192.0.2.1".into() });
        notices.emit(Notice::Homepage { url: FreeText::new("https://a.example") });
        assert_eq!(folder.kinds("stream"), ["Tunnels", "ClientAddress"]);
        assert_eq!(folder.kinds("notices"), ["Info", "Tunnels", "Homepage"]);
        assert_eq!(folder.kinds("homepage"), ["Homepage"]);
    }

    #[test]
    fn the_home_pages_of_a_tunnel_replace_those_of_the_last() {
        let folder = Folder::new("pages");
        let notices = Notices::silent();
        notices.keep_files(folder.files(1 << 20)).unwrap();
        let page = |url: &str| notices.emit(Notice::Homepage { url: FreeText::new(url) });
        page("https://a.example");
        page("https://b.example");
        assert_eq!(folder.kinds("homepage").len(), 2);
        notices.emit(Notice::Tunnels { count: 1 });
        page("https://c.example");
        let text = fs::read_to_string(folder.0.join("homepage")).unwrap();
        assert!(text.contains("c.example") && !text.contains("a.example"), "{text}");
    }

    #[test]
    fn notices_keep_to_their_limit_with_one_old_file() {
        let folder = Folder::new("limit");
        for run in 0..2 {
            let notices = Notices::silent();
            notices.keep_files(folder.files(1_000)).unwrap();
            for count in 0..100 {
                notices.emit(Notice::Tunnels { count });
                let len = |name| fs::metadata(folder.0.join(name)).map_or(0, |found| found.len());
                assert!(len("notices") <= 1_000 && len("notices.1") <= 1_000, "run {run}");
            }
            assert!(folder.kinds("notices.1").len() > 5);
            assert!(fs::read_to_string(folder.0.join("notices")).unwrap().contains("99"));
        }
    }
}
