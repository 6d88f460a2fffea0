//! The server's half of a handshake, behind a ClientHello that was judged. Takes the tickets that clients make from a shared secret, and its own.
//! Source: TRANSPORTS.md 1.1, 1.7; RFC 8446, RFC 5246.

mod forged;

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ProducesTickets, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};

use crate::client::{At, Established};
use crate::handshake::{HandshakeError, Progress, advance};
use crate::hello::HelloMessage;
use crate::records::{Records, Rekeying};
use crate::ticket::TicketSecret;
use forged::Forged;

/// Seconds that a server says its tickets are good for; one of them for each server. TRANSPORTS.md 1.7.
const LIFETIMES: [u32; 7] = [300, 1200, 7200, 10_800, 64_800, 100_800, 129_600];

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3.
    Only13,
    /// TLS 1.2, too.
    From12,
}

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The name in its certificate, which it signs itself.
    pub name: String,
    /// The application protocols that it takes, best first.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Versions,
    /// What clients make tickets from.
    pub ticket_secret: Option<TicketSecret>,
}

/// Why there can be no server. Local: the machine's random source, or a bug.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Making the key or the certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library's settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Cheap to share.
#[derive(Clone)]
pub struct Server {
    settings: Arc<ServerSettings>,
    certificate: Arc<dyn ResolvesServerCert>,
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<CryptoProvider>,
}

impl Server {
    /// With a fresh certificate.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn new(settings: ServerSettings) -> Result<Self, ServerError> {
        let made = rcgen::generate_simple_self_signed([settings.name.clone()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(provider());
        let certified = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider)?;
        let mut drawn = [0];
        provider.secure_random.fill(&mut drawn).map_err(rustls::Error::from)?;
        let [drawn] = drawn;
        let lifetime = *LIFETIMES.get(usize::from(drawn) % LIFETIMES.len()).unwrap_or(&300);
        let tickets = OwnTickets { inner: crypto::aws_lc_rs::Ticketer::new()?, lifetime };
        Ok(Self {
            settings: Arc::new(settings),
            certificate: Arc::new(SingleCertAndKey::from(certified)),
            tickets: Arc::new(tickets),
            provider,
        })
    }

    /// One that knows no other groups.
    #[cfg(test)]
    pub(crate) fn with_groups(mut self, kx_groups: Vec<&'static dyn crypto::SupportedKxGroup>) -> Self {
        self.provider = Arc::new(CryptoProvider { kx_groups, ..(*self.provider).clone() });
        self
    }

    /// Prepares the answer to a client whose ClientHello is `hello`; its bytes are still to be handed to [`ServerHandshake::advance`].
    /// `now` is the time since 1970.
    ///
    /// # Errors
    /// A bug.
    pub fn accept(&self, hello: &HelloMessage<'_>, now: Duration) -> Result<ServerHandshake, HandshakeError> {
        let secret = self.settings.ticket_secret.as_ref();
        let forged = secret.and_then(|secret| Forged::find(secret, hello, now));
        let versions: &[&'static SupportedProtocolVersion] = match (&forged, self.settings.versions) {
            (Some(forged), _) => &[forged.version()],
            (None, Versions::Only13) => &[&TLS13],
            (None, Versions::From12) => &[&TLS13, &TLS12],
        };
        let provider = match &forged {
            Some(forged) => forged.provider(&self.provider),
            None => Arc::clone(&self.provider),
        };
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(At(now)))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.certificate));
        config.alpn_protocols = self.settings.alpn.clone();
        config.enable_secret_extraction = true;
        config.ignore_client_order = !prefers_chacha20(hello);
        config.send_tls13_tickets = 1;
        config.ticketer = match forged {
            Some(forged) => Arc::new(forged.beside(Arc::clone(&self.tickets))),
            None => Arc::clone(&self.tickets),
        };
        Ok(ServerHandshake(UnbufferedServerConnection::new(Arc::new(config))?))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

/// A handshake under way.
pub struct ServerHandshake(UnbufferedServerConnection);

impl ServerHandshake {
    /// Takes what belongs to the handshake from the beginning of `incoming`. What is to be sent, each record by itself, is handed to `send`.
    ///
    /// # Errors
    /// There will be no connection.
    pub fn advance(
        &mut self,
        incoming: &mut Vec<u8>,
        mut send: impl FnMut(Vec<u8>),
    ) -> Result<Progress, HandshakeError> {
        advance(&mut self.0, incoming, &mut send)
    }

    /// The connection, once the handshake is done.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(self) -> Result<Established, HandshakeError> {
        let alpn = self.0.alpn_protocol().map(<[u8]>::to_vec);
        let is_tls13 = self.0.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let resumed = self.0.handshake_kind() == Some(HandshakeKind::Resumed);
        let (secrets, connection) = self.0.dangerous_into_kernel_connection()?;
        let suite = connection.negotiated_cipher_suite().suite().into();
        let records = Records::new(secrets, Rekeying::Server(connection)).ok_or(HandshakeError::NotTls)?;
        Ok(Established { records, alpn, is_tls13, suite, resumed })
    }
}

impl std::fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerHandshake")
    }
}

/// Cheapest suites first, for all who have AES in their processor.
fn provider() -> CryptoProvider {
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    });
    provider
}

/// Who names ChaCha20 first has no AES in the processor; of others the order says nothing.
fn prefers_chacha20(hello: &HelloMessage<'_>) -> bool {
    let mut suites = hello.suites.as_chunks::<2>().0.iter().map(|suite| u16::from_be_bytes(*suite));
    // RFC 8701: what is reserved stands in front of the first.
    let first = suites.find(|suite| suite & 0x0f0f != 0x0a0a);
    [
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
    .into_iter()
    .any(|suite| first == Some(u16::from(suite)))
}

/// rustls' tickets with another lifetime.
#[derive(Debug)]
struct OwnTickets {
    inner: Arc<dyn ProducesTickets>,
    lifetime: u32,
}

impl ProducesTickets for OwnTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.inner.decrypt(cipher)
    }
}
