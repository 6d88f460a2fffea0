//! The client's side.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use culvert_obfuscation::{Prng, Seed};
use quinn::TokioRuntime;
use quinn::{
    AsyncUdpSocket, ConnectError, Connecting, ConnectionError, Endpoint as QuicEndpoint, EndpointConfig,
};
use zeroize::Zeroizing;

use super::cids::Resets;
use super::draws::{Draws, NonceTransform};
use super::settings::{self, End, SetupError};
use super::socket::{Decoys, Side, Socket};
use super::stream::QuicStream;
use super::wire::Key;
use crate::tls::{NONCE_LEN, PassthroughKey};
use crate::{DialError, DialFacts, Dialed, Endpoint, Network};

/// The most decoys. TRANSPORTS.md 3.4.
const MOST_DECOYS: i64 = 10;

/// Which look. TRANSPORTS.md 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// QUIC as it is.
    Plain,
    /// With algorithms in an order that is drawn.
    Randomized,
    /// With hidden packets.
    Hidden,
    /// Hidden, and with packets that mean nothing.
    Decoy,
}

impl Version {
    fn is_hidden(self) -> bool {
        matches!(self, Self::Hidden | Self::Decoy)
    }
}

/// Where to connect, and how the connection looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The server.
    pub server: Endpoint,
    /// The look.
    pub version: Version,
    /// What clients know of the server.
    pub key: KeyText,
    /// The host name that is shown.
    pub server_name: String,
    /// What is drawn comes from here, but for what must not repeat.
    pub seed: Seed,
    /// How nonces are rewritten.
    pub nonce_transform: Option<NonceTransform>,
}

/// The key as it stands in configs and entries: its text, not what the text encodes.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// The key of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted QUIC key]")
    }
}

/// Why QUIC did not connect.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// Local.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Local: the plan, or a bug.
    #[error("cannot begin: {0}")]
    Begin(#[from] ConnectError),
    /// A bug: see there.
    #[error(transparent)]
    Random(#[from] culvert_tls::random::NotTaken),
    /// The peer, the network, or something in between.
    #[error("the connection ended: {0}")]
    Connection(#[from] ConnectionError),
    /// The same, of HTTP/3.
    #[error(transparent)]
    Http3(#[from] super::Http3Error),
}

/// Connects. The stream shows at the server with the first bytes that are written.
pub async fn dial(plan: &Plan, network: &dyn Network) -> Result<Dialed, DialError> {
    let server = address(&plan.server, network).await?;
    let socket = network.datagrams(server).await.map_err(DialError::Connect)?;
    let endpoint = endpoint(plan, socket)?;
    let connection = connecting(plan, &endpoint, server)?.await.map_err(QuicError::from)?;
    let streams = connection.open_bi().await.map_err(QuicError::from)?;
    let stream = QuicStream::new(streams, connection, Some(endpoint));
    Ok(Dialed { stream: Box::new(stream), facts: DialFacts::default() })
}

pub(super) async fn address(server: &Endpoint, network: &dyn Network) -> Result<SocketAddr, DialError> {
    match server {
        Endpoint::Address(address) => Ok(*address),
        Endpoint::Name(name, port) => {
            let addresses = network.resolve(name).await.map_err(DialError::Connect)?;
            let first = addresses.into_iter().next().ok_or(std::io::ErrorKind::NotFound);
            Ok(SocketAddr::new(first.map_err(|kind| DialError::Connect(kind.into()))?, *port))
        }
    }
}

fn endpoint(plan: &Plan, inner: Arc<dyn AsyncUdpSocket>) -> Result<QuicEndpoint, DialError> {
    let socket: Arc<dyn AsyncUdpSocket> = match plan.version.is_hidden() {
        false => inner,
        true => {
            let mut prng = Prng::derived(&plan.seed, "decoys");
            let left = if plan.version == Version::Decoy { prng.range(0, MOST_DECOYS) } else { 0 };
            let decoys = Box::new(Mutex::new(Decoys { left, prng }));
            let side = Side::Client { key: Key::new(plan.key.as_str()), decoys };
            let lengths = Prng::derived(&plan.seed, "padding");
            let draws = Draws::new(plan.nonce_transform.clone(), Some(lengths));
            Arc::new(Socket::new(inner, side, draws))
        }
    };
    let mut config = EndpointConfig::new(Arc::new(Resets::new().ok_or(DialError::Random)?));
    settings::endpoint(&mut config);
    QuicEndpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))
        .map_err(DialError::Connect)
}

fn connecting(plan: &Plan, endpoint: &QuicEndpoint, server: SocketAddr) -> Result<Connecting, DialError> {
    let mut prng = Prng::derived(&plan.seed, "connection");
    let shuffled = plan.version == Version::Randomized;
    let mut config = settings::client(shuffled, &mut prng).map_err(QuicError::from)?;
    config.transport_config(settings::transport(End::Client, plan.version.is_hidden(), &mut prng));
    // Never from the plan: a plan may be used again, a proof must not.
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| DialError::Random)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let key = PassthroughKey::new(plan.key.as_str(), true);
    let random = key.message(nonce, i64::try_from(now).unwrap_or(i64::MAX));
    let connect = || endpoint.connect_with(config, server, &plan.server_name);
    let connecting = culvert_tls::random::with_client_random(random, connect).map_err(QuicError::from)?;
    Ok(connecting.map_err(QuicError::from)?)
}
