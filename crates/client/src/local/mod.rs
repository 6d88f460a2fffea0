//! The local SOCKS and HTTP proxies: where applications hand their flows to the client. Not the tunnel: flows are
//! opened through [`FlowOpener`], which also decides how long a flow waits for one.

mod access;
mod early;
mod holder;
pub mod http;
mod interface;
mod listener;
mod relay;
pub mod socks;
mod socks_session;
mod stream;
#[cfg(test)]
mod tests;
pub mod udp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use culvert_transport::{Network, OsNetwork};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{ListenInterface, LocalProxies, UnixPath};
use crate::flow::FlowOpener;
use crate::notice::{FreeText, Notice, Notices};

use access::Access;
use early::EarlyFlows;
use http::HttpProxy;
use listener::Listener;
pub use listener::Listening;
pub use relay::relay;
use socks_session::Session;
use stream::AppStream;
use udp::Gateway;

/// How many applications may be connected at once, both proxies together.
const MOST_CONNECTIONS: usize = 8192;

/// How long an application may take to say where it wants to go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after the system had no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the local proxies are set up.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    pub proxies: LocalProxies,
    /// How long an origin server may take to begin its answer to the HTTP proxy.
    pub origin_timeout: Duration,
    /// What does not go through the tunnel.
    pub direct: Direct,
}

/// Where the client's own bytes leave, for what is fetched past the tunnel: bound, resolved and proxied as these are.
#[derive(Clone)]
pub struct Direct(pub Arc<dyn Network>);

impl Default for Direct {
    fn default() -> Self {
        Self(Arc::new(OsNetwork))
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Direct")
    }
}

impl LocalSettings {
    /// The reference's default for the time an origin server has, before scaling.
    pub const ORIGIN_TIMEOUT: Duration = Duration::from_secs(15);
}

/// The running proxies. Dropping it stops them and resets their connections.
#[derive(Debug)]
pub struct LocalServers {
    socks: Option<Listening>,
    http: Option<Listening>,
    /// Held for its drop: it ends the accept loops, which own the connections.
    _tasks: JoinSet<()>,
}

impl LocalServers {
    /// Where the SOCKS proxy listens, unless that is a Unix socket.
    pub fn socks(&self) -> Option<SocketAddr> {
        self.socks.as_ref().and_then(Listening::tcp)
    }

    /// Where the HTTP proxy listens, unless that is a Unix socket.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Listening::tcp)
    }
}

/// Which of the two proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    Socks,
    Http,
}

/// Why the local proxies could not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{proxy} proxy: port {port} is in use{}; choose another or 0 for any", by(.holder))]
    PortInUse { proxy: Proxy, port: u16, holder: Option<String> },
    #[error("{proxy} proxy: cannot listen on port {port}: {source}")]
    Listen { proxy: Proxy, port: u16, source: std::io::Error },
    #[error("{proxy} proxy: the socket {path} is in use{}; choose another", by(.holder))]
    PathInUse { proxy: Proxy, path: UnixPath, holder: Option<String> },
    #[error("{proxy} proxy: cannot listen on the socket {path}: {source}")]
    ListenPath { proxy: Proxy, path: UnixPath, source: std::io::Error },
    #[error("ListenInterface: no interface named {name:?} with an address")]
    NoSuchInterface { name: String },
    #[error("ListenInterface: the interfaces of this system cannot be listed: {source}")]
    Interfaces { source: std::io::Error },
}

fn by(holder: &Option<String>) -> String {
    holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Starts the proxies that the settings ask for and says where they listen, or what is in use.
pub async fn start(
    settings: &LocalSettings,
    opener: FlowOpener,
    notices: Notices,
) -> Result<LocalServers, LocalError> {
    let proxies = &settings.proxies;
    let address = listen_address(&proxies.interface)?;
    let socks_listener = Listener::bind(Proxy::Socks, address, &proxies.socks, &notices).await?;
    let http_listener = match proxies.http {
        // One listener serves both.
        _ if proxies.is_one_place() => None,
        ref place => Listener::bind(Proxy::Http, address, place, &notices).await?,
    };
    let place = |listener: &Option<Listener>| listener.as_ref().and_then(Listener::place);
    let socks = place(&socks_listener);
    let http = if proxies.is_one_place() { socks.clone() } else { place(&http_listener) };
    announce(&notices, socks.as_ref(), http.as_ref());

    let flows = |proxy| EarlyFlows { proxy, opener: opener.clone(), notices: notices.clone() };
    let access = Access::new(proxies.login.clone(), &proxies.allowed_users);
    let gateway = proxies.udp_gateway.map(|at| Gateway::new(opener.clone(), at, notices.clone()));
    let own = [&socks, &http].into_iter().flatten().filter_map(Listening::tcp).collect();
    let servers = Servers {
        socks: Session::new(flows(Proxy::Socks), access.clone(), gateway),
        http: HttpProxy::new(flows(Proxy::Http), access.clone(), own, settings),
        access,
        notices,
        slots: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
    };
    let speaks_on_first = if proxies.is_one_place() { None } else { Some(Proxy::Socks) };
    let mut tasks = JoinSet::new();
    for (listener, speaks) in [(socks_listener, speaks_on_first), (http_listener, Some(Proxy::Http))] {
        if let Some(listener) = listener {
            tasks.spawn(accept(listener, servers.clone(), speaks));
        }
    }
    Ok(LocalServers { socks, http, _tasks: tasks })
}

fn announce(notices: &Notices, socks: Option<&Listening>, http: Option<&Listening>) {
    match socks {
        Some(Listening::Tcp(at)) => notices.emit(Notice::ListeningSocksProxyPort { port: at.port() }),
        Some(Listening::Unix(path)) => {
            notices.emit(Notice::ListeningSocksProxyUnixPath { path: path.to_string() });
        }
        None => {}
    }
    match http {
        Some(Listening::Tcp(at)) => notices.emit(Notice::ListeningHttpProxyPort { port: at.port() }),
        Some(Listening::Unix(path)) => {
            notices.emit(Notice::ListeningHttpProxyUnixPath { path: path.to_string() });
        }
        None => {}
    }
}

/// What serves connections. Cheap to clone.
#[derive(Clone)]
struct Servers {
    socks: Session,
    http: HttpProxy,
    access: Access,
    notices: Notices,
    slots: Arc<Semaphore>,
}

impl Servers {
    /// Serves one connection to its end; without `speaks`, as what its first byte tells (RFC 1928 section 3, RFC 9112
    /// section 3).
    async fn serve(self, mut stream: AppStream, speaks: Option<Proxy>) {
        if !self.access.admits_user(&stream) {
            let message =
                FreeText::new("a connection of a user who is not in LocalProxyAllowedUserIDs was closed");
            return self.notices.emit(Notice::LocalProxyError { message });
        }
        let speaks = match speaks {
            Some(proxy) => proxy,
            None => match timeout(HANDSHAKE_TIMEOUT, stream.peek_first()).await {
                Ok(Ok(Some(4 | 5))) => Proxy::Socks,
                Ok(Ok(Some(_))) => Proxy::Http,
                // The application left, or said nothing in time.
                Ok(Ok(None) | Err(_)) | Err(_) => return,
            },
        };
        match speaks {
            Proxy::Socks => self.socks.run(stream).await,
            Proxy::Http => self.http.serve(stream).await,
        }
    }
}

fn listen_address(interface: &ListenInterface) -> Result<IpAddr, LocalError> {
    match interface {
        ListenInterface::Loopback => Ok(Ipv4Addr::LOCALHOST.into()),
        ListenInterface::All => Ok(Ipv4Addr::UNSPECIFIED.into()),
        ListenInterface::Named(name) => interface::address_of(name)
            .map_err(|source| LocalError::Interfaces { source })?
            .ok_or_else(|| LocalError::NoSuchInterface { name: name.clone() }),
    }
}

/// Accepts connections and serves each in a task of its own, which ends with this one.
async fn accept(listener: Listener, servers: Servers, speaks: Option<Proxy>) {
    let notices = &servers.notices;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match (accepted, servers.slots.clone().try_acquire_owned()) {
            (Ok(stream), Ok(slot)) => {
                let served = servers.clone().serve(stream, speaks);
                connections.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            (Ok(_), Err(_)) => {
                let message = format!("{MOST_CONNECTIONS} connections are open; a further one was closed");
                notices.emit(Notice::LocalProxyError { message: FreeText::new(message) });
            }
            (Err(error), _) => {
                let message = FreeText::new(format!("accepting a connection failed: {error}"));
                notices.emit(Notice::LocalProxyError { message });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Socks => "SOCKS",
            Self::Http => "HTTP",
        })
    }
}
