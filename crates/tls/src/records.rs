//! TLS records after the handshake, sealed and opened in buffers of the caller's: large ones, without a copy that need not be.
//! Source: RFC 8446 sections 4.6.3, 5, 5.5; RFC 5246 section 6.2, RFC 5288 section 3, RFC 7905 section 2.

mod aead;

use std::ops::Range;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use aead::Direction;

/// Bytes before the content of a record.
pub const HEADER: usize = 5;
/// The most bytes of application data in a record. RFC 8446 section 5.1.
pub const MOST_DATA: usize = 1 << 14;
/// What is sent takes at most so many bytes more for each record: header, explicit nonce or content type, tag.
pub const OVERHEAD: usize = HEADER + 8 + 16 + 1;
/// The most bytes of a record's content. RFC 5246 section 6.2.3; TLS 1.3 allows less.
const MOST_CONTENT: usize = MOST_DATA + 2048;
/// Records sealed with one key, well below what AES-GCM bears. RFC 8446 section 5.5.
const MOST_RECORDS: u64 = 1 << 23;
/// Bytes of a handshake message that comes after the handshake: tickets.
const MOST_MESSAGE: usize = 64 * 1024;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CHANGE_CIPHER_SPEC: u8 = 20;
const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Damaged on the way, or by something on the way.
    #[error("the peer sent a TLS record that does not open")]
    Forged,
    /// Against the protocol.
    #[error("the peer broke the TLS protocol after the handshake")]
    Protocol,
    /// It has found something wrong with us.
    #[error("the peer ended the TLS connection with alert {0}")]
    Alert(u8),
    /// TLS 1.2 has no other key.
    #[error("as many TLS records were sent as one key may seal; connect again")]
    Exhausted,
}

/// What a record held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Application data, at these places of the buffer.
    Data(Range<usize>),
    /// Nothing for an application.
    Nothing,
    /// The peer will send no more.
    End,
}

/// A record that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its bytes, which are done with once its data is.
    pub consumed: usize,
    /// What it held.
    pub content: Content,
}

/// Both directions of a connection.
pub struct Records {
    sending: Direction,
    receiving: Direction,
    rekeying: Rekeying,
    /// A beginning of a handshake message.
    message: Vec<u8>,
    /// The peer wants us to change our key, too.
    update_wanted: bool,
}

/// What knows the next keys.
pub(crate) enum Rekeying {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Records {
    pub(crate) fn new(secrets: ExtractedSecrets, rekeying: Rekeying) -> Option<Self> {
        let tls13 = rekeying.is_tls13();
        Some(Self {
            sending: Direction::new(&secrets.tx.1, secrets.tx.0, tls13)?,
            receiving: Direction::new(&secrets.rx.1, secrets.rx.0, tls13)?,
            rekeying,
            message: Vec::new(),
            update_wanted: false,
        })
    }

    /// Appends `data` to `out` as records.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`].
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        for part in data.chunks(MOST_DATA) {
            if self.update_wanted || self.sending.sealed() >= MOST_RECORDS {
                self.update_sending(out)?;
            }
            self.sending.seal(APPLICATION_DATA, part, out)?;
        }
        Ok(())
    }

    /// Appends what says that no more data comes.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`].
    pub fn seal_end(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.sending.seal(ALERT, &CLOSE_NOTIFY, out)
    }

    /// Opens the record that `buffer` begins with, in place. `None`: it is not whole yet.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn open(&mut self, buffer: &mut [u8]) -> Result<Option<Opened>, RecordError> {
        let Some(length) = content_length(buffer)? else { return Ok(None) };
        let consumed = HEADER + length;
        let Some(record) = buffer.get_mut(..consumed) else { return Ok(None) };
        // RFC 8446 appendix D.4: means nothing.
        if record.first() == Some(&CHANGE_CIPHER_SPEC) {
            return Ok(Some(Opened { consumed, content: Content::Nothing }));
        }
        let (kind, range) = self.receiving.open(record)?;
        let content = match kind {
            APPLICATION_DATA => Content::Data(range),
            ALERT => match record.get(range) {
                Some([1, 0]) => Content::End,
                // RFC 8446 section 6: the other end of the same meaning.
                Some([_, 90]) => Content::Nothing,
                Some([_, alert]) => return Err(RecordError::Alert(*alert)),
                _ => return Err(RecordError::Protocol),
            },
            HANDSHAKE => {
                self.message.extend_from_slice(record.get(range).unwrap_or_default());
                self.messages()?;
                Content::Nothing
            }
            _ => return Err(RecordError::Protocol),
        };
        Ok(Some(Opened { consumed, content }))
    }

    /// Handshake messages after the handshake. RFC 8446 section 4.6.
    fn messages(&mut self) -> Result<(), RecordError> {
        while let Some(([kind, a, b, c], rest)) = self.message.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if length > MOST_MESSAGE {
                return Err(RecordError::Protocol);
            }
            let Some(body) = rest.get(..length) else { return Ok(()) };
            match (*kind, body) {
                (NEW_SESSION_TICKET, _) if self.rekeying.is_tls13() => {}
                (KEY_UPDATE, [wanted @ (0 | 1)]) if self.rekeying.is_tls13() => {
                    self.update_wanted |= *wanted == 1;
                    let secrets = self.rekeying.next_receiving().ok_or(RecordError::Protocol)?;
                    self.receiving = Direction::new(&secrets, 0, true).ok_or(RecordError::Protocol)?;
                }
                _ => return Err(RecordError::Protocol),
            }
            self.message.drain(..4 + length);
        }
        Ok(())
    }

    fn update_sending(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        const MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
        if !self.rekeying.is_tls13() {
            return Err(RecordError::Exhausted);
        }
        self.sending.seal(HANDSHAKE, &MESSAGE, out)?;
        let secrets = self.rekeying.next_sending().ok_or(RecordError::Exhausted)?;
        self.sending = Direction::new(&secrets, 0, true).ok_or(RecordError::Exhausted)?;
        self.update_wanted = false;
        Ok(())
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records")
    }
}

impl Rekeying {
    fn is_tls13(&self) -> bool {
        let version = match self {
            Self::Client(connection) => connection.protocol_version(),
            Self::Server(connection) => connection.protocol_version(),
        };
        version == ProtocolVersion::TLSv1_3
    }

    fn next_sending(&mut self) -> Option<ConnectionTrafficSecrets> {
        let updated = match self {
            Self::Client(connection) => connection.update_tx_secret(),
            Self::Server(connection) => connection.update_tx_secret(),
        };
        updated.ok().map(|(_, secrets)| secrets)
    }

    fn next_receiving(&mut self) -> Option<ConnectionTrafficSecrets> {
        let updated = match self {
            Self::Client(connection) => connection.update_rx_secret(),
            Self::Server(connection) => connection.update_rx_secret(),
        };
        updated.ok().map(|(_, secrets)| secrets)
    }
}

/// The length of the content of the record at the beginning of `bytes`; `None` if that cannot be told yet.
pub(crate) fn content_length(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some([kind, major, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let known = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(kind) && *major == 3;
    if known && length > 0 && length <= MOST_CONTENT { Ok(Some(length)) } else { Err(RecordError::Protocol) }
}
