//! Where the proxies listen: a TCP port, or a Unix socket that only this user can open. Not what they say: see
//! `socks_session.rs` and `http`.
//!
//! Source: unix(7) for abstract names; what the reference takes for paths.

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::holder;
use super::stream::{AppSocket, AppStream};
use super::{LocalError, Proxy};
use crate::config::{LocalPort, UnixPath};
use crate::notice::{Notice, Notices, PortInUse};

/// A listener for one proxy, or for both.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, UnixPath),
}

/// Where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    Tcp(SocketAddr),
    Unix(UnixPath),
}

impl Listener {
    /// Listens where the config says; `None` when the proxy is off. A place that is taken is said in a notice, with who
    /// has it.
    pub(super) async fn bind(
        proxy: Proxy,
        address: IpAddr,
        place: &LocalPort,
        notices: &Notices,
    ) -> Result<Option<Self>, LocalError> {
        let port = match place {
            LocalPort::Off => return Ok(None),
            LocalPort::Any => 0,
            LocalPort::Fixed(port) => *port,
            LocalPort::Unix(path) => return bind_unix(proxy, path).map(Some),
        };
        match TcpListener::bind((address, port)).await {
            Ok(listener) => Ok(Some(Self::Tcp(listener))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let holder = holder::of_port(port);
                let in_use = PortInUse { port, holder: holder.clone() };
                notices.emit(match proxy {
                    Proxy::Socks => Notice::SocksProxyPortInUse(in_use),
                    Proxy::Http => Notice::HttpProxyPortInUse(in_use),
                });
                Err(LocalError::PortInUse { proxy, port, holder })
            }
            Err(source) => Err(LocalError::Listen { proxy, port, source }),
        }
    }

    pub(super) fn place(&self) -> Option<Listening> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Listening::Tcp),
            #[cfg(unix)]
            Self::Unix(_, path) => Some(Listening::Unix(path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<AppStream> {
        match self {
            Self::Tcp(listener) => Ok(AppStream::new(AppSocket::Tcp(listener.accept().await?.0))),
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok(AppStream::new(AppSocket::Unix(listener.accept().await?.0))),
        }
    }
}

/// The file goes with its listener.
impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Self::Unix(_, path) = self
            && let Some(file) = path.file()
        {
            // It may be gone already.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Listening {
    /// The address, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

#[cfg(not(unix))]
fn bind_unix(proxy: Proxy, path: &UnixPath) -> Result<Listener, LocalError> {
    Err(LocalError::ListenPath { proxy, path: path.clone(), source: io::ErrorKind::Unsupported.into() })
}

/// How many connections may wait to be accepted.
#[cfg(unix)]
const BACKLOG: i32 = 1024;

#[cfg(unix)]
fn bind_unix(proxy: Proxy, path: &UnixPath) -> Result<Listener, LocalError> {
    let failed = |source| LocalError::ListenPath { proxy, path: path.clone(), source };
    let taken = || LocalError::PathInUse { proxy, path: path.clone(), holder: holder_of(path) };
    match listen_unix(path) {
        Ok(listener) => Ok(Listener::Unix(listener, path.clone())),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let stale = path.file().filter(is_stale).ok_or_else(taken)?;
            std::fs::remove_file(stale).map_err(failed)?;
            listen_unix(path).map(|listener| Listener::Unix(listener, path.clone())).map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}

#[cfg(unix)]
fn listen_unix(path: &UnixPath) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&path.address()?)?;
    if let Some(file) = path.file() {
        // Before it listens: nobody gets in meanwhile.
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// Whether the file is a socket that nobody listens on any more.
#[cfg(unix)]
fn is_stale(file: &PathBuf) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(file)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Who listens there: the system tells whoever connects.
#[cfg(target_os = "linux")]
fn holder_of(path: &UnixPath) -> Option<String> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).ok()?;
    socket.connect(&path.address().ok()?).ok()?;
    socket.set_nonblocking(true).ok()?;
    let stream = tokio::net::UnixStream::from_std(socket.into()).ok()?;
    holder::described(u32::try_from(stream.peer_cred().ok()?.pid()?).ok()?)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn holder_of(_: &UnixPath) -> Option<String> {
    None
}
