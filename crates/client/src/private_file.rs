//! How the client opens what it keeps in its data folder: for the owner alone whatever the umask, and never through a link, which
//! somebody may have put there so that another file is written. Not the file that a user names for notices, which may well be a link.

use std::fs::OpenOptions;

/// Options to which reading, writing or creating is yet to be added.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use culvert_interop::links::{Links, tries};

    use crate::data_dir::DataDir;
    use crate::notice::{Notice, NoticeFileLimits, NoticeFiles, Notices};
    use crate::store::Store;

    /// A folder of its own, removed at the end.
    struct Root(PathBuf);

    impl Drop for Root {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn links_that_come_and_go_lead_nothing_elsewhere() {
        let root = Root(std::env::temp_dir().join(format!("culvert-client-links-{}", std::process::id())));
        drop(fs::remove_dir_all(&root.0));
        fs::create_dir_all(&root.0).unwrap();
        let folder = DataDir::open(Some(&root.0)).unwrap().data_dir.path().to_owned();
        let names = [
            "culvert.lock",
            "culvert-state.json",
            "culvert-state.json.new",
            "notices",
            "notices.1",
            "homepage",
            "datastore/culvert.redb",
            "datastore/culvert.damaged",
        ];
        let links = Links::start(&folder, &names).unwrap();
        for number in 0..tries() {
            // Most of it fails at times, as it must.
            if let Ok(opened) = DataDir::open(Some(&root.0)) {
                let _ = opened.data_dir.update(|state| state.last_connected = Some(format!("{number}")));
                if number % 20 == 0 {
                    drop(Store::open(&opened.data_dir, |_| {}));
                }
            }
            let notices = Notices::silent();
            let limits = NoticeFileLimits { size: 100, sync_every: 100 };
            if notices.keep_files(NoticeFiles { folder: folder.clone(), limits }).is_ok() {
                for count in 0..3 {
                    notices.emit(Notice::Tunnels { count });
                }
            }
        }
        links.stop();
    }
}
