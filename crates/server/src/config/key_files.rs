//! Files with keys in them must be their owner's alone. As OpenSSH has it: a file of this user may be read by nobody else; one of
//! another user, such as root, who gives it to a group that this server is in, may not be readable by everyone.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use super::finding::{ConfigError, Finding, Problem};
use super::{DataFiles, Severity};
use crate::state_directory::own_user;

/// Looks at the modes of the files that hold keys: the main file, and those of tactics and server lists.
pub fn check_modes(files: &DataFiles) -> Result<(), ConfigError> {
    let named = [&files.main, &files.tactics, &files.osl].into_iter().flatten();
    // What cannot be looked at was or will be complained about by who reads it.
    let found = named.filter_map(|file| Some((file, std::fs::metadata(file).ok()?)));
    let open = found.filter(|(_, metadata)| is_open(metadata, own_user()));
    let findings: Vec<_> = open
        .map(|(file, metadata)| Finding {
            file: file.clone(),
            position: None,
            field: Vec::new(),
            problem: Problem::ReadableByOthers {
                mode: metadata.mode() & 0o7777,
                path: file.display().to_string(),
            },
        })
        .collect();
    debug_assert!(findings.iter().all(|it| it.problem.severity() == Severity::Error));
    if findings.is_empty() { Ok(()) } else { Err(ConfigError { findings }) }
}

fn is_open(file: &Metadata, user: u32) -> bool {
    let forbidden = if file.uid() == user { 0o077 } else { 0o007 };
    file.is_file() && file.mode() & forbidden != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_others_can_read_is_named_with_what_helps() {
        let scratch = Scratch::new("modes");
        let main = scratch.path().join("main");
        write(&main, "{}").unwrap();
        let files = DataFiles { main: Some(main.clone()), ..DataFiles::default() };
        let with = |mode| {
            set_permissions(&main, Permissions::from_mode(mode)).unwrap();
            check_modes(&files)
        };
        for mode in [0o600, 0o400, 0o700] {
            assert!(with(mode).is_ok(), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o660, 0o644, 0o620] {
            let error = with(mode).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")), "{error}");
            assert!(error.ends_with(&format!("run chmod 600 {}", main.display())), "{error}");
        }
        let metadata = |mode| {
            set_permissions(&main, Permissions::from_mode(mode)).unwrap();
            std::fs::metadata(&main).unwrap()
        };
        let another = own_user() + 1;
        assert!(!is_open(&metadata(0o640), another) && is_open(&metadata(0o644), another));
        assert!(check_modes(&DataFiles::default()).is_ok());
    }
}
