//! What QUIC and its TLS are told: sizes, times, windows, algorithms. Source: TRANSPORTS.md 3.2.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Prng;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, ClientConfig, EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{CipherSuite, DigitallySignedStruct, SignatureScheme};

use super::wire::{MAX_DATAGRAM, OVERHEAD};

/// The application protocol that TLS names; none of it is spoken.
const ALPN: &[u8] = b"h3";
/// Bytes of the first datagram, and of all until it is known that longer ones arrive.
const FIRST: usize = 1280;
/// The least that probing for longer ones ends with: somewhere between this and the most, so that no size of a probe tells.
const LEAST_FULL: usize = 1400;
const CLIENT_IDLE: Duration = Duration::from_secs(30);
const SERVER_IDLE: Duration = Duration::from_secs(300);
/// Keep-alives come 12 to 18 s after the last packet: the reference's 15 s on average.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(12), Duration::from_secs(18));
/// What is assumed of the path at first: what is lost is sent again after three times as much.
const INITIAL_RTT: Duration = Duration::from_millis(150);
/// One-way streams of a server of HTTP/3: it needs three, and others are to be ignored. RFC 9114 section 6.2.
const FRONT_STREAMS: u32 = 16;
/// What a peer may send ahead of what is read.
const RECEIVE_WINDOW: u32 = 6 << 20;
/// Under way before anything is acknowledged: 32 packets.
const FIRST_WINDOW: u64 = 32 * FIRST as u64;
/// What is kept of what was written, at first.
pub(super) const LEAST_SEND_WINDOW: u64 = 512 << 10;

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A client of QUIC-OSSH.
    Client,
    /// Its server.
    Server,
    /// A client of HTTP/3, whose server opens streams.
    Front,
}

/// The settings of one connection.
pub(super) fn transport(end: End, hidden: bool, prng: &mut Prng) -> Arc<TransportConfig> {
    let overhead = if hidden { OVERHEAD } else { 0 };
    let first = size(FIRST - overhead);
    let mut mtu = MtuDiscoveryConfig::default();
    let most = prng.range(i64::from(size(LEAST_FULL)), i64::from(size(MAX_DATAGRAM)));
    mtu.upper_bound(size(usize::try_from(most).unwrap_or(MAX_DATAGRAM) - overhead));
    let mut config = TransportConfig::default();
    let (idle, both_ways, one_way) = match end {
        End::Client => (CLIENT_IDLE, 0, 0),
        End::Server => (SERVER_IDLE, 1, 0),
        End::Front => (CLIENT_IDLE, 0, FRONT_STREAMS),
    };
    config
        .max_idle_timeout(idle.try_into().ok())
        .keep_alive_interval(Some(prng.period(KEEP_ALIVE.0, KEEP_ALIVE.1)))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(first)
        .min_mtu(first)
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(both_ways))
        .max_concurrent_uni_streams(VarInt::from_u32(one_way))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(LEAST_SEND_WINDOW)
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(congestion()))
        .ack_frequency_config(Some(ack_frequency()));
    Arc::new(config)
}

fn size(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// As large servers of QUIC begin: with ten packets a key exchange would not always fit, and a tunnel would take a round trip more.
fn congestion() -> CubicConfig {
    let mut config = CubicConfig::default();
    config.initial_window(FIRST_WINDOW);
    config
}

/// Between ours: an acknowledgement for ten packets costs less than for two.
fn ack_frequency() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(10));
    config
}

/// What both ends' endpoints need. A packet without the fixed bit is a decoy, so ours must have it.
pub(super) fn endpoint(config: &mut EndpointConfig) {
    let longest = config.max_udp_payload_size(size(MAX_DATAGRAM));
    debug_assert!(longest.is_ok(), "the longest datagram is within QUIC's bounds");
    config.grease_quic_bit(false).supported_versions(vec![1]);
}

/// Why QUIC cannot be set up. Local: the machine's random source, or a bug.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Making the server's key or certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library's settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The same, of the QUIC library.
    #[error("cannot set up TLS for QUIC: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// A client, whose ClientHello has the suites in this order of the draw.
pub(super) fn client(shuffled: bool, prng: &mut Prng) -> Result<ClientConfig, SetupError> {
    let mut provider = (*culvert_tls::random::provider()).clone();
    // None that would take the ClientHello beyond one datagram.
    provider.kx_groups = vec![X25519, SECP256R1, SECP384R1];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    // The server takes the first that it has: the cheapest, unless the order is drawn.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    if shuffled {
        prng.shuffle(&mut provider.cipher_suites);
    }
    let provider = Arc::new(provider);
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

/// A server's TLS, with a fresh certificate for `name`.
pub(super) fn server(name: &str) -> Result<QuicServerConfig, SetupError> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(QuicServerConfig::try_from(tls)?)
}

/// Takes every certificate: who the server is its SSH key proves.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
