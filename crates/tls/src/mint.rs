//! A session that no server has given: client and server shake hands in memory, and the server's ticket is sealed with the shared secret. What the
//! client then has is what it would have from the real server. Source: TRANSPORTS.md 1.7.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use culvert_obfuscation::Prng;
use rustls::client::ClientConnection;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ProducesTickets, ServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, CipherSuiteCommon, ClientConfig, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion, Tls12CipherSuite,
};
use zeroize::Zeroizing;

use crate::client::{At, Fresh};
use crate::handshake::HandshakeError;
use crate::hello::Fields;
use crate::hooks;
use crate::ticket::{PADDINGS, TicketSecret, TicketState};
use crate::verify::Verifier;

const LIFETIME: u32 = 7 * 24 * 3600;
/// Bytes of the secret in the reference's tickets.
const SECRET_IN_TICKET: usize = 48;
/// Flights that a handshake can have, and some more.
const FLIGHTS: usize = 6;

/// Which sessions can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// Puts a session into the store of `config`, whose verifier is `verifier`.
pub(crate) fn session(
    config: &ClientConfig,
    verifier: &Arc<Verifier>,
    (secret, version): (&TicketSecret, Version),
    fresh: &Fresh,
    name: ServerName<'static>,
) -> Result<(), HandshakeError> {
    let (version, suite): (&'static SupportedProtocolVersion, _) = match version {
        Version::Tls12 => (&TLS12, tls12_suite()),
        Version::Tls13 => (&TLS13, hooked_suite(CipherSuite::TLS13_AES_128_GCM_SHA256)),
    };
    let Some(suite) = suite else { return Err(HandshakeError::NotChosen) };
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![crypto::aws_lc_rs::kx_group::X25519],
        ..crypto::aws_lc_rs::default_provider()
    });
    let clock = Arc::new(At(fresh.now));
    let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), clock.clone())
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<_>)
        .with_no_client_auth();
    // A session is good only for a config with the same of both.
    client.client_auth_cert_resolver = Arc::clone(&config.client_auth_cert_resolver);
    client.resumption = config.resumption.clone();
    let (certificate, key) = certificate().ok_or(HandshakeError::NotChosen)?;
    let mut server = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    server.ticketer = Arc::new(Forger::new(secret.clone(), fresh));
    server.send_tls13_tickets = 1;
    verifier.while_minting(|| shake_hands(client, server, name))
}

fn shake_hands(
    client: ClientConfig,
    server: ServerConfig,
    name: ServerName<'static>,
) -> Result<(), HandshakeError> {
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut wire = Vec::new();
    for _ in 0..FLIGHTS {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).map_err(|_| HandshakeError::NotTls)?;
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).map_err(|_| HandshakeError::NotTls)?;
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).map_err(|_| HandshakeError::NotTls)?;
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).map_err(|_| HandshakeError::NotTls)?;
            client.process_new_packets()?;
        }
    }
    Ok(())
}

/// Seals what rustls would remember of a session.
struct Forger {
    secret: TicketSecret,
    created: u64,
    prng: Mutex<Prng>,
}

impl Forger {
    fn new(secret: TicketSecret, fresh: &Fresh) -> Self {
        let prng = Mutex::new(Prng::new(&fresh.seed.derive("ticket")));
        Self { secret, created: fresh.now.as_secs(), prng }
    }
}

impl std::fmt::Debug for Forger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forger")
    }
}

impl ProducesTickets for Forger {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let state = remembered(plain, self.created)?;
        let mut prng = self.prng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut iv = [0; 16];
        prng.fill(&mut iv);
        // As long as tickets of the reference, whose secrets always have so many bytes.
        let padding = *prng.pick(&PADDINGS)? + SECRET_IN_TICKET.saturating_sub(state.secret.len());
        self.secret.seal(iv, &state, padding)
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Reads rustls' own form of a session: name, version, suite, secret, extended master secret, and what does not matter.
fn remembered(plain: &[u8], created: u64) -> Option<TicketState> {
    let mut fields = Fields(plain);
    if fields.byte()? == 1 {
        fields.vector8()?;
    }
    let is_tls13 = fields.number()? == 0x0304;
    let suite = fields.number()?;
    let secret = Zeroizing::new(fields.vector8()?.to_vec());
    let extended_master_secret = fields.byte()? == 1;
    Some(TicketState { is_tls13, suite, created, secret, extended_master_secret })
}

fn hooked_suite(wanted: CipherSuite) -> Option<SupportedCipherSuite> {
    hooks::provider().cipher_suites.iter().copied().find(|suite| suite.suite() == wanted)
}

/// The suite of all forged tickets of TLS 1.2 wants an RSA key, which takes long to make. Between ourselves an ECDSA key does.
pub(crate) fn tls12_suite() -> Option<SupportedCipherSuite> {
    static SUITE: LazyLock<Option<Tls12CipherSuite>> = LazyLock::new(|| {
        let tls12 = |suite| match hooked_suite(suite) {
            Some(SupportedCipherSuite::Tls12(suite)) => Some(suite),
            _ => None,
        };
        let rsa = tls12(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)?;
        let ecdsa = tls12(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)?;
        Some(Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite: rsa.common.suite,
                hash_provider: rsa.common.hash_provider,
                confidentiality_limit: rsa.common.confidentiality_limit,
            },
            prf_provider: rsa.prf_provider,
            kx: rsa.kx,
            sign: ecdsa.sign,
            aead_alg: rsa.aead_alg,
        })
    });
    SUITE.as_ref().map(SupportedCipherSuite::Tls12)
}

/// Seen by nobody.
fn certificate() -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    static MADE: LazyLock<Option<(CertificateDer<'static>, Zeroizing<Vec<u8>>)>> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["server.invalid".to_owned()]).ok()?;
        Some((made.cert.der().clone(), Zeroizing::new(made.signing_key.serialize_der())))
    });
    let (certificate, key) = MADE.as_ref()?;
    Some((certificate.clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()))))
}
