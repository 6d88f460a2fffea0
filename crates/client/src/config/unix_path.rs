//! Where a Unix socket is: a file, or an abstract name that no file has.
//!
//! Source: unix(7); the lengths and forms that the reference takes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path that all systems take, without the zero byte after it.
const LONGEST: usize = 103;

/// An absolute path, or `@` and an abstract name (Linux).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPath(String);

/// Text that is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an absolute path, or on Linux @ and a name, of at most {LONGEST} bytes")]
pub struct InvalidUnixPath;

impl FromStr for UnixPath {
    type Err = InvalidUnixPath;

    fn from_str(text: &str) -> Result<Self, InvalidUnixPath> {
        let is_abstract = text.strip_prefix('@').is_some_and(|name| !name.is_empty());
        let fits = text.len() <= LONGEST && !text.contains('\0') && !text.ends_with('/');
        if fits && (text.starts_with('/') || is_abstract && cfg!(target_os = "linux")) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidUnixPath)
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UnixPath {
    /// The file, unless the name is abstract.
    pub fn file(&self) -> Option<PathBuf> {
        (!self.0.starts_with('@')).then(|| PathBuf::from(&self.0))
    }

    #[cfg(unix)]
    pub(crate) fn address(&self) -> std::io::Result<socket2::SockAddr> {
        // Linux: a name that begins with a zero byte is abstract.
        let name = match self.0.strip_prefix('@') {
            Some(name) => format!("\0{name}"),
            None => self.0.clone(),
        };
        socket2::SockAddr::unix(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_or_abstract_and_short() {
        assert_eq!("/run/x.sock".parse::<UnixPath>().unwrap().file(), Some("/run/x.sock".into()));
        let longest = format!("/{}", "a".repeat(LONGEST - 1));
        assert!(longest.parse::<UnixPath>().is_ok());
        for wrong in ["", "@", "x.sock", "./x", "/dir/", "/a\0b", &format!("{longest}a")] {
            assert_eq!(wrong.parse::<UnixPath>(), Err(InvalidUnixPath), "{wrong:?}");
        }
        if cfg!(target_os = "linux") {
            assert_eq!("@name".parse::<UnixPath>().unwrap().file(), None);
        }
    }
}
