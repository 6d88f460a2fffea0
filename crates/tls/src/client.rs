//! The client's half of a handshake, with the ClientHello that was asked for on the wire. Bytes in, bytes out.
//! Source: TRANSPORTS.md 1, RFC 8446, RFC 5246.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Seed;
use rustls::client::{ClientSessionStore, Resumption, UnbufferedClientConnection};
use rustls::pki_types::{DnsName, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};

use crate::handshake::{HandshakeError, Progress, advance};
use crate::hello::{HelloEdits, HelloMessage, HelloWriter, Profile, server_name_offset};
use crate::hooks::{Hooks, provider};
use crate::inflate::Zlib;
use crate::records::{HEADER, Records, Rekeying};
use crate::sessions::{NoSessions, Sessions};
use crate::ticket::TicketSecret;
use crate::verify::{Verifier, Verify};
use crate::{mint, random};

const HANDSHAKE_RECORD: u8 = 22;
/// The name that rustls is told, which nobody sees: the hello says another, and certificates are compared with another.
const INNER_NAME: &str = "server.invalid";

/// How a hello is cut into records. TRANSPORTS.md 1.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// One record.
    #[default]
    Whole,
    /// Two, so that the server's name begins the second; one where there is no name.
    AtServerName,
    /// Two, of which the first has so many bytes of the hello.
    At(usize),
}

/// What a connection is to look like, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The hello.
    pub profile: Arc<Profile>,
    /// What is changed in it.
    pub edits: HelloEdits,
    /// How it is cut.
    pub split: Split,
    /// Who the server must be.
    pub verify: Verify,
    /// The server takes tickets that are made from this, where the profile has a place for one.
    pub ticket_secret: Option<TicketSecret>,
}

/// What must differ between any two connections, and the time.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The hello's random.
    pub random: [u8; random::LEN],
    /// Where everything else that is drawn for a hello comes from.
    pub seed: Seed,
    /// Since 1970.
    pub now: Duration,
}

/// A handshake under way.
pub struct ClientHandshake {
    connection: UnbufferedClientConnection,
    /// `None` only inside a call.
    hooks: Option<Hooks>,
    split: Split,
    /// By which a hello is known.
    random: [u8; random::LEN],
}

/// A connection that is up.
#[derive(Debug)]
pub struct Established {
    /// What goes on.
    pub records: Records,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// TLS 1.3, or 1.2.
    pub is_tls13: bool,
    /// The number of the cipher suite.
    pub suite: u16,
    /// Whether a ticket was taken.
    pub resumed: bool,
}

impl ClientHandshake {
    /// Prepares a connection. Nothing is sent yet.
    ///
    /// # Errors
    /// A bug, or the random source.
    pub fn new(settings: &ClientSettings, fresh: &Fresh) -> Result<Self, HandshakeError> {
        let config = Arc::new(config(settings, fresh)?);
        let writer = HelloWriter::new(&settings.profile, settings.edits.clone(), &fresh.seed);
        let hooks = Hooks::new(writer, &settings.profile.key_share_groups());
        let make = || UnbufferedClientConnection::new(config, inner_name());
        let (hooks, made) = hooks.during(|| random::with_client_random(fresh.random, make));
        Ok(Self { connection: made??, hooks, split: settings.split, random: fresh.random })
    }

    /// Takes what belongs to the handshake from the beginning of `incoming`. What is to be sent, each piece by itself, is handed to `send`.
    ///
    /// # Errors
    /// There will be no connection.
    pub fn advance(
        &mut self,
        incoming: &mut Vec<u8>,
        mut send: impl FnMut(Vec<u8>),
    ) -> Result<Progress, HandshakeError> {
        let hooks = self.hooks.take().ok_or(HandshakeError::NotChosen)?;
        let mut records = Vec::new();
        let connection = &mut self.connection;
        let (hooks, progress) =
            hooks.during(|| advance(connection, incoming, &mut |record| records.push(record)));
        self.hooks = hooks;
        for record in records {
            self.send(record, &mut send)?;
        }
        progress
    }

    /// The connection, once the handshake is done.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(self) -> Result<Established, HandshakeError> {
        let alpn = self.connection.alpn_protocol().map(<[u8]>::to_vec);
        let is_tls13 = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let (secrets, connection) = self.connection.dangerous_into_kernel_connection()?;
        let suite = connection.negotiated_cipher_suite().suite().into();
        let records = Records::new(secrets, Rekeying::Client(connection)).ok_or(HandshakeError::NotTls)?;
        Ok(Established { records, alpn, is_tls13, suite, resumed })
    }

    fn send(&mut self, record: Vec<u8>, send: &mut impl FnMut(Vec<u8>)) -> Result<(), HandshakeError> {
        let (header, original) = record.split_at_checked(HEADER).ok_or(HandshakeError::NotChosen)?;
        // What is encrypted may begin like one.
        let is_hello = header.first() == Some(&HANDSHAKE_RECORD)
            && HelloMessage::read(original).is_ok_and(|hello| hello.random == &self.random);
        if !is_hello {
            send(record);
            return Ok(());
        }
        let hooks = self.hooks.as_mut().ok_or(HandshakeError::NotChosen)?;
        let hello = hooks.for_wire(original).ok_or(HandshakeError::NotChosen)?;
        let cut = match self.split {
            Split::Whole => None,
            Split::AtServerName => server_name_offset(&hello),
            Split::At(offset) => Some(offset),
        };
        let (first, second) = cut.and_then(|cut| hello.split_at_checked(cut)).unwrap_or((&hello, &[]));
        for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
            let length = u16::try_from(part.len()).map_err(|_| HandshakeError::NotChosen)?;
            send([header.get(..3).unwrap_or_default(), &length.to_be_bytes(), part].concat());
        }
        Ok(())
    }
}

impl std::fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientHandshake")
    }
}

fn config(settings: &ClientSettings, fresh: &Fresh) -> Result<ClientConfig, HandshakeError> {
    let profile = &settings.profile;
    let versions: &[&'static SupportedProtocolVersion] =
        match (profile.offers_tls12(), profile.offers_tls13()) {
            (true, true) => &[&TLS13, &TLS12],
            (false, _) => &[&TLS13],
            (true, false) => &[&TLS12],
        };
    let verifier = Arc::new(Verifier::new(settings.verify.clone()));
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(At(fresh.now)))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>)
        .with_no_client_auth();
    config.alpn_protocols = profile.alpn().iter().map(|name| name.clone().into_bytes()).collect();
    config.enable_secret_extraction = true;
    config.cert_decompressors = vec![&Zlib];
    config.resumption = Resumption::store(Arc::new(NoSessions));
    if let (Some(secret), Some(version)) = (&settings.ticket_secret, place_for_ticket(profile)) {
        let sessions = Arc::new(Sessions::default());
        config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<dyn ClientSessionStore>);
        mint::session(&config, &verifier, (secret, version), fresh, inner_name())?;
        sessions.close();
    }
    Ok(config)
}

/// Where a ticket goes that the client has made itself. A hello of both versions has it as a pre-shared key or not at all.
fn place_for_ticket(profile: &Profile) -> Option<mint::Version> {
    if profile.takes_pre_shared_key() {
        Some(mint::Version::Tls13)
    } else if profile.takes_tls12_ticket() && !profile.offers_tls13() {
        Some(mint::Version::Tls12)
    } else {
        None
    }
}

fn inner_name() -> ServerName<'static> {
    DnsName::try_from(INNER_NAME).map_or_else(
        |_| ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into()),
        ServerName::DnsName,
    )
}

/// A clock that stands: a handshake is short.
#[derive(Debug)]
pub(crate) struct At(pub(crate) Duration);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}
