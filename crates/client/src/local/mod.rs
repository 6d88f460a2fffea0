//! The local SOCKS and HTTP proxies: where applications hand their flows to the client. Not the tunnel: flows are
//! opened through [`FlowOpener`], which also decides how long a flow waits for one.

mod early;
mod holder;
mod http;
mod interface;
mod relay;
pub mod socks;
mod socks_session;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::{ListenInterface, LocalPort, LocalProxies};
use crate::flow::FlowOpener;
use crate::notice::{FreeText, Notice, Notices, PortInUse};

use early::EarlyFlows;
pub use relay::relay;

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
}

impl LocalSettings {
    /// The reference's default for the time an origin server has, before scaling.
    pub const ORIGIN_TIMEOUT: Duration = Duration::from_secs(15);
}

/// The running proxies. Dropping it stops them and resets their connections.
#[derive(Debug)]
pub struct LocalServers {
    socks: Option<SocketAddr>,
    http: Option<SocketAddr>,
    /// Held for its drop: it ends the accept loops, which own the connections.
    _tasks: JoinSet<()>,
}

impl LocalServers {
    /// Where the SOCKS proxy listens.
    pub fn socks(&self) -> Option<SocketAddr> {
        self.socks
    }

    /// Where the HTTP proxy listens.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
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
    #[error("ListenInterface: no interface named {name:?} with an address")]
    NoSuchInterface { name: String },
    #[error("ListenInterface: the interfaces of this system cannot be listed: {source}")]
    Interfaces { source: std::io::Error },
}

fn by(holder: &Option<String>) -> String {
    holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default()
}

/// Starts the proxies that the settings ask for and says where they listen, or which port is in use.
pub async fn start(
    settings: &LocalSettings,
    opener: FlowOpener,
    notices: Notices,
) -> Result<LocalServers, LocalError> {
    let address = listen_address(&settings.proxies.interface)?;
    let socks = listen(Proxy::Socks, address, settings.proxies.socks, &notices).await?;
    let http = listen(Proxy::Http, address, settings.proxies.http, &notices).await?;
    let at =
        |listener: &Option<TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let (socks_at, http_at) = (at(&socks), at(&http));
    let own: Vec<SocketAddr> = [socks_at, http_at].into_iter().flatten().collect();

    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut tasks = JoinSet::new();
    if let Some(listener) = socks {
        notices.emit(Notice::ListeningSocksProxyPort { port: socks_at.map_or(0, |at| at.port()) });
        let session = socks_session::Session::new(EarlyFlows {
            proxy: Proxy::Socks,
            opener: opener.clone(),
            notices: notices.clone(),
        });
        let serve = move |stream| session.clone().run(stream);
        tasks.spawn(accept(listener, slots.clone(), notices.clone(), serve));
    }
    if let Some(listener) = http {
        notices.emit(Notice::ListeningHttpProxyPort { port: http_at.map_or(0, |at| at.port()) });
        let flows = EarlyFlows { proxy: Proxy::Http, opener, notices: notices.clone() };
        let proxy = http::HttpProxy::new(flows, own, settings.origin_timeout);
        let serve = move |stream| proxy.clone().serve(stream);
        tasks.spawn(accept(listener, slots, notices, serve));
    }
    Ok(LocalServers { socks: socks_at, http: http_at, _tasks: tasks })
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

async fn listen(
    proxy: Proxy,
    address: IpAddr,
    port: LocalPort,
    notices: &Notices,
) -> Result<Option<TcpListener>, LocalError> {
    let port = match port {
        LocalPort::Off => return Ok(None),
        LocalPort::Any => 0,
        LocalPort::Fixed(port) => port,
    };
    match TcpListener::bind((address, port)).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
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

/// Accepts connections and serves each in a task of its own, which ends with this one.
async fn accept<F>(
    listener: TcpListener,
    slots: Arc<Semaphore>,
    notices: Notices,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match (accepted, slots.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(slot)) => {
                let served = serve(stream);
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
