//! A ticket that a client has made, as rustls must see it. Source: TRANSPORTS.md 1.7.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::DnsName;
use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedProtocolVersion};
use zeroize::Zeroizing;

use crate::hello::{Fields, HelloMessage, number};
use crate::mint;
use crate::ticket::{TicketSecret, TicketState};

const HOST_NAME: u8 = 0;

/// A ticket that will be taken: if it is found, the handshake resumes.
pub(super) struct Forged {
    ticket: Vec<u8>,
    state: TicketState,
    server_name: Option<String>,
}

impl Forged {
    /// The first of the hello's tickets, if a client has made it, and it is good at `now`.
    pub(super) fn find(secret: &TicketSecret, hello: &HelloMessage<'_>, now: Duration) -> Option<Self> {
        let pre_shared_key = hello.extension(number::PRE_SHARED_KEY).and_then(first_identity);
        let ticket = pre_shared_key.or_else(|| hello.extension(number::SESSION_TICKET))?;
        let state = secret.open(ticket, now.as_secs())?;
        let is_extended = hello.extension(number::EXTENDED_MASTER_SECRET).is_some();
        let fits = if pre_shared_key.is_some() {
            state.is_tls13 && state.suite == u16::from(CipherSuite::TLS13_AES_128_GCM_SHA256)
        } else {
            let suite = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
            // Otherwise a full handshake follows. TRANSPORTS.md 1.7.
            !state.is_tls13 && state.suite == u16::from(suite) && state.extended_master_secret == is_extended
        };
        let offered = hello.suites.as_chunks::<2>().0.contains(&state.suite.to_be_bytes());
        let server_name = match hello.extension(number::SERVER_NAME) {
            Some(content) => Some(server_name(content)?),
            None => None,
        };
        (fits && offered).then(|| Self { ticket: ticket.to_vec(), state, server_name })
    }

    pub(super) fn version(&self) -> &'static SupportedProtocolVersion {
        if self.state.is_tls13 { &TLS13 } else { &TLS12 }
    }

    /// With no suite but the ticket's.
    pub(super) fn provider(&self, usual: &CryptoProvider) -> Arc<CryptoProvider> {
        let suite = if self.state.is_tls13 {
            Some(crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256)
        } else {
            mint::tls12_suite()
        };
        Arc::new(CryptoProvider { cipher_suites: suite.into_iter().collect(), ..usual.clone() })
    }

    pub(super) fn beside(self, own: Arc<dyn ProducesTickets>) -> ForgedTicket {
        ForgedTicket { plain: self.remembered(), ticket: self.ticket, own }
    }

    /// What rustls would remember of a session: name, version, suite, secret, extended master secret; no certificates, application protocol
    /// or data; time, offset of the age.
    fn remembered(&self) -> Zeroizing<Vec<u8>> {
        let state = &self.state;
        let mut plain = Zeroizing::new(Vec::new());
        match &self.server_name {
            Some(name) => {
                plain.extend([1, u8::try_from(name.len()).unwrap_or_default()]);
                plain.extend(name.as_bytes());
            }
            None => plain.push(0),
        }
        plain.extend(if state.is_tls13 { 0x0304_u16 } else { 0x0303 }.to_be_bytes());
        plain.extend(state.suite.to_be_bytes());
        plain.push(u8::try_from(state.secret.len()).unwrap_or_default());
        plain.extend_from_slice(&state.secret);
        plain.push(u8::from(state.extended_master_secret && !state.is_tls13));
        plain.extend([0, 0, 0, 0]);
        plain.extend(state.created.to_be_bytes());
        plain.extend([0; 4]);
        plain
    }
}

/// Knows one more ticket than its own.
pub(super) struct ForgedTicket {
    ticket: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    own: Arc<dyn ProducesTickets>,
}

impl std::fmt::Debug for ForgedTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForgedTicket")
    }
}

impl ProducesTickets for ForgedTicket {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.own.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.own.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if cipher == self.ticket { Some(self.plain.to_vec()) } else { self.own.decrypt(cipher) }
    }
}

/// RFC 8446 section 4.2.11.
fn first_identity(content: &[u8]) -> Option<&[u8]> {
    Fields(Fields(content).vector16()?).vector16()
}

/// The name as rustls compares it. `None`: one that it would not take.
fn server_name(content: &[u8]) -> Option<String> {
    let mut list = Fields(Fields(content).vector16()?);
    let kind = list.byte()?;
    let name =
        std::str::from_utf8(list.vector16()?).ok().filter(|_| kind == HOST_NAME && list.0.is_empty())?;
    let name = DnsName::try_from(name).ok()?;
    Some(name.to_lowercase_owned().as_ref().to_owned())
}
