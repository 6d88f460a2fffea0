//! Where the control socket is in the file system. It is made with mode 0600 whatever the umask, and it takes the place of one that
//! a server left behind, but never that of a server that runs.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Who may wait to be answered.
const BACKLOG: i32 = 16;

/// The bound socket; dropping it takes its name away.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// A control socket that cannot be made. Local: the path, its folder, or another server.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the control socket {}: {problem}", path.display())]
pub struct SocketError {
    pub path: PathBuf,
    pub problem: SocketProblem,
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum SocketProblem {
    #[error(
        "another server answers there: stop it, or give this one its own StateDirectory or ControlSocket"
    )]
    InUse,
    #[error("something else is there: remove it, or set ControlSocket to another path")]
    NotASocket,
    #[error("{source}; {}", fix(source))]
    Io {
        #[from]
        source: io::Error,
    },
}

fn fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "make its folder, for this user (mkdir -p), or set ControlSocket to another path"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "set ControlSocket to a path in a folder of this user's"
        }
        io::ErrorKind::InvalidInput => "set ControlSocket to a path of at most 107 bytes",
        _ => "set ControlSocket to another path",
    }
}

impl ControlSocket {
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        Self::bind_at(path).map_err(|problem| SocketError { path: path.to_owned(), problem })
    }

    fn bind_at(path: &Path) -> Result<Self, SocketProblem> {
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Before it has a name, so that it never has one with more rights.
        make_private(&socket)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self {
            listener: UnixListener::from(std::os::fd::OwnedFd::from(socket)),
            path: path.to_owned(),
            inode,
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode) {
            // Left behind it does no harm: the next server takes its place.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what a server that is gone has left.
fn make_room(path: &Path) -> Result<(), SocketProblem> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        return Err(SocketProblem::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(SocketProblem::from)
        }
        Ok(_) => Err(SocketProblem::InUse),
        Err(error) => Err(error.into()),
    }
}

#[expect(unsafe_code, reason = "the mode of a socket without a name can only be set by the C library")]
fn make_private(socket: &Socket) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` is.
    match unsafe { libc::fchmod(socket.as_raw_fd(), 0o600) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn it_is_private_replaces_a_dead_one_and_goes_away() {
        let folder = Scratch::new("control");
        let path = folder.path().join("control");
        // What a server leaves that is killed: a name that nobody listens behind.
        drop(UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(second.problem, SocketProblem::InUse), "{second}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_else_is_removed() {
        let folder = Scratch::new("control-file");
        let path = folder.path().join("control");
        std::fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error.problem, SocketProblem::NotASocket), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let error = ControlSocket::bind(&folder.path().join("none/control")).unwrap_err();
        assert!(error.to_string().contains("none/control"), "{error}");
    }
}
