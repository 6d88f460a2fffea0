//! The server's side. Who has not proved to have the key is not answered; others are handed over with the first bytes on their stream.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{Prng, SEED_LEN, Seed};
use culvert_protocol::TunnelProtocol;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connecting, ConnectionError, Endpoint, EndpointConfig, Incoming, Runtime, ServerConfig, TokioRuntime,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cids::{Cids, Resets};
use super::draws::Draws;
use super::gate::{Admission, Gate};
use super::settings::{self, End, SetupError};
use super::socket::{Side, Socket};
use super::stream::QuicStream;
use super::wire::Flow;
use crate::{Accepted, BoxFuture, ConnFacts, Listen, Remote};

/// From the first packet to the stream. TRANSPORTS.md 3.2.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Streams that wait to be taken over.
const READY: usize = 64;
/// Connections at once.
const MOST_CONNECTIONS: usize = 65_536;

/// What all ports of QUIC-OSSH share. Cheap to clone.
#[derive(Clone)]
pub struct QuicServer(Arc<QuicServerConfig>);

impl QuicServer {
    /// With a fresh certificate for `name`.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(name: &str) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(settings::server(name)?)))
    }
}

impl std::fmt::Debug for QuicServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QuicServer")
    }
}

/// A UDP port of QUIC-OSSH.
pub struct QuicListen {
    endpoint: Endpoint,
    gate: Arc<Gate>,
    ready: mpsc::Receiver<Accepted>,
}

impl QuicListen {
    /// Listens on a port that is bound already. Must be called in the runtime that is to serve it; the socket must not block.
    ///
    /// # Errors
    /// The system refused something, or its random source failed.
    pub fn from_std(
        socket: UdpSocket,
        server: &QuicServer,
        key_text: &str,
        admission: Box<dyn Admission>,
    ) -> io::Result<Self> {
        let random = || io::Error::other("this machine's random source failed");
        let (cids, resets) = (Cids::new().ok_or_else(random)?, Resets::new().ok_or_else(random)?);
        let gate = Arc::new(Gate::new(key_text, cids.clone(), admission));
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let side = Side::Server { gate: gate.clone(), resets: resets.mark };
        let socket = Arc::new(Socket::new(inner, side, Draws::new(None, None)));
        let mut config = EndpointConfig::new(Arc::new(resets));
        settings::endpoint(&mut config);
        config.cid_generator(move || Box::new(cids.clone()));
        let accepting = server_config(server);
        let endpoint = Endpoint::new_with_abstract_socket(
            config,
            Some(accepting.clone()),
            socket,
            Arc::new(TokioRuntime),
        )?;
        let (handed, ready) = mpsc::channel(READY);
        tokio::spawn(accept_all(endpoint.clone(), gate.clone(), accepting, handed));
        Ok(Self { endpoint, gate, ready })
    }

    /// The address bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Takes no more connections, and returns when all that there are have ended and their peers have been told.
    pub async fn finish(self) {
        self.gate.close();
        drop(self.ready);
        self.endpoint.wait_idle().await;
    }
}

/// Without tokens: nobody is asked to come again.
fn server_config(server: &QuicServer) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(server.0.clone());
    config.validation_token.sent(0);
    config
}

impl Listen for QuicListen {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move { self.ready.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}

async fn accept_all(
    endpoint: Endpoint,
    gate: Arc<Gate>,
    accepting: ServerConfig,
    handed: mpsc::Sender<Accepted>,
) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = handed.closed() => None,
        };
        let Some(incoming) = incoming else { return };
        let admitted = gate.admitted(incoming.remote_address(), &incoming.orig_dst_cid());
        match admitted.filter(|_| endpoint.open_connections() < MOST_CONNECTIONS) {
            Some(flow) => {
                tokio::spawn(hand_over(incoming, flow, accepting.clone(), handed.clone()));
            }
            None => incoming.ignore(),
        }
    }
}

async fn hand_over(incoming: Incoming, flow: Flow, mut config: ServerConfig, handed: mpsc::Sender<Accepted>) {
    let peer = Remote(incoming.remote_address());
    let mut seed = [0; SEED_LEN];
    if aws_lc_rs::rand::fill(&mut seed).is_err() {
        return incoming.ignore();
    }
    let mut prng = Prng::new(&Seed::from_bytes(seed));
    config.transport_config(settings::transport(End::Server, flow == Flow::Hidden, &mut prng));
    let Ok(connecting) = incoming.accept_with(Arc::new(config)) else { return };
    if let Ok(Ok(stream)) = timeout(HANDSHAKE, open(connecting)).await {
        let facts = ConnFacts { protocol: TunnelProtocol::QUIC_OSSH, peer };
        // Fails when the port is no longer served.
        let _ = handed.send(Accepted { stream: Box::new(stream), facts }).await;
    }
}

async fn open(connecting: Connecting) -> Result<QuicStream, ConnectionError> {
    let connection = connecting.await?;
    let streams = connection.accept_bi().await?;
    Ok(QuicStream::new(streams, connection, None))
}
