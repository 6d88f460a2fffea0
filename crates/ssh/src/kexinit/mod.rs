//! The KEXINIT message, what goes into it, and what two of them agree on.
//!
//! Source: RFC 4253 section 7.1, PROTOCOL.md 3.3. The exchange itself is in [`crate::kex`].

mod lists;
mod negotiate;
mod offer;
mod shaping;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use thiserror::Error;

pub use culvert_obfuscation::Direction;
pub use negotiate::{Category, NegotiateError, Negotiated, Suite, negotiate, predict};
pub use offer::{OfferPolicy, offer};

use crate::names::wire_name;
use crate::wire::{Reader, WireError, WriteWire};

/// SSH_MSG_KEXINIT.
pub const MESSAGE_NUMBER: u8 = 20;

/// Names that one list of a peer may hold; the longest list in use has 16.
const MAX_NAMES: usize = 256;

/// An algorithm name, known or not.
pub type Name = Cow<'static, str>;

/// Which end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that connects.
    Client,
    /// The end that accepts and owns a host key.
    Server,
}

impl Role {
    /// The direction in which this end writes.
    #[must_use]
    pub const fn sends(self) -> Direction {
        match self {
            Self::Client => Direction::ClientToServer,
            Self::Server => Direction::ServerToClient,
        }
    }

    /// The direction in which this end reads.
    #[must_use]
    pub const fn receives(self) -> Direction {
        match self {
            Self::Client => Direction::ServerToClient,
            Self::Server => Direction::ClientToServer,
        }
    }
}

/// The name-lists of one KEXINIT, each in order of preference. Languages are always empty and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameLists {
    /// Key exchange methods and extension markers.
    pub kex: Vec<Name>,
    /// Host key algorithms.
    pub host_key: Vec<Name>,
    /// Ciphers, client to server.
    pub cipher_c2s: Vec<Name>,
    /// Ciphers, server to client.
    pub cipher_s2c: Vec<Name>,
    /// MACs, client to server.
    pub mac_c2s: Vec<Name>,
    /// MACs, server to client.
    pub mac_s2c: Vec<Name>,
    /// Compression, client to server.
    pub compression_c2s: Vec<Name>,
    /// Compression, server to client.
    pub compression_s2c: Vec<Name>,
}

/// One KEXINIT message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KexInit {
    /// Random bytes.
    pub cookie: [u8; 16],
    /// What the sender can do.
    pub lists: NameLists,
    /// The sender's next packet is a guess of the key exchange.
    pub first_kex_packet_follows: bool,
}

/// Why a payload is not a KEXINIT. The peer's fault: disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KexInitError {
    /// The payload starts with another message number.
    #[error("peer sent message {0} where KEXINIT was due")]
    WrongMessage(u8),
    /// A list has more names than any peer has reason to send.
    #[error("peer sent a KEXINIT list of more than {MAX_NAMES} names")]
    TooManyNames,
    /// A field is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl KexInit {
    /// The payload, starting with the message number. The exchange hash covers exactly these bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lists = &self.lists;
        let mut out = Vec::with_capacity(1024);
        out.put_u8(MESSAGE_NUMBER);
        out.extend_from_slice(&self.cookie);
        for list in [
            &lists.kex,
            &lists.host_key,
            &lists.cipher_c2s,
            &lists.cipher_s2c,
            &lists.mac_c2s,
            &lists.mac_s2c,
            &lists.compression_c2s,
            &lists.compression_s2c,
        ] {
            out.put_name_list(list);
        }
        // Languages, both directions (PROTOCOL.md 3.3: always empty).
        out.put_u32(0);
        out.put_u32(0);
        out.put_bool(self.first_kex_packet_follows);
        // Reserved.
        out.put_u32(0);
        out
    }

    /// Parses a payload. Languages and the reserved field may hold anything.
    pub fn decode(payload: &[u8]) -> Result<Self, KexInitError> {
        let mut reader = Reader::new(payload);
        match reader.u8()? {
            MESSAGE_NUMBER => {}
            other => return Err(KexInitError::WrongMessage(other)),
        }
        let cookie = reader.array()?;
        let lists = NameLists {
            kex: read_names(&mut reader)?,
            host_key: read_names(&mut reader)?,
            cipher_c2s: read_names(&mut reader)?,
            cipher_s2c: read_names(&mut reader)?,
            mac_c2s: read_names(&mut reader)?,
            mac_s2c: read_names(&mut reader)?,
            compression_c2s: read_names(&mut reader)?,
            compression_s2c: read_names(&mut reader)?,
        };
        reader.string()?;
        reader.string()?;
        let first_kex_packet_follows = reader.bool()?;
        reader.u32()?;
        reader.finish()?;
        Ok(Self { cookie, lists, first_kex_packet_follows })
    }
}

fn read_names(reader: &mut Reader<'_>) -> Result<Vec<Name>, KexInitError> {
    let list = reader.name_list()?;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    if list.split(',').take(MAX_NAMES.saturating_add(1)).count() > MAX_NAMES {
        return Err(KexInitError::TooManyNames);
    }
    Ok(list.split(',').map(intern).collect())
}

/// `name` without an allocation if it is in the table.
fn intern(name: &str) -> Name {
    wire_name::known(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
}

#[cfg(test)]
mod message_tests {
    use super::*;

    fn sample() -> KexInit {
        let names = |text: &'static str| text.split(',').map(Cow::Borrowed).collect::<Vec<Name>>();
        KexInit {
            cookie: *b"0123456789abcdef",
            lists: NameLists {
                kex: names("curve25519-sha256,made-up@example.com"),
                host_key: names("rsa-sha2-256"),
                cipher_c2s: names("aes128-ctr"),
                cipher_s2c: names("aes256-ctr"),
                mac_c2s: names("hmac-sha2-256"),
                mac_s2c: names("hmac-sha2-512"),
                compression_c2s: names("none"),
                compression_s2c: names("zlib@openssh.com,none"),
            },
            first_kex_packet_follows: true,
        }
    }

    #[test]
    fn round_trip() {
        let init = sample();
        assert_eq!(KexInit::decode(&init.encode()), Ok(init));
    }

    #[test]
    fn every_cut_fails() {
        let encoded = sample().encode();
        for cut in 0..encoded.len() {
            assert!(KexInit::decode(&encoded[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn other_message_and_trailing_bytes_fail() {
        let mut encoded = sample().encode();
        encoded.push(0);
        assert_eq!(KexInit::decode(&encoded), Err(KexInitError::Wire(WireError::TrailingBytes)));
        encoded[0] = 21;
        assert_eq!(KexInit::decode(&encoded), Err(KexInitError::WrongMessage(21)));
    }

    #[test]
    fn name_count_is_bounded() {
        let mut init = sample();
        init.lists.mac_c2s = vec![Cow::Borrowed("x"); MAX_NAMES];
        assert!(KexInit::decode(&init.encode()).is_ok());
        init.lists.mac_c2s.push(Cow::Borrowed("x"));
        assert_eq!(KexInit::decode(&init.encode()), Err(KexInitError::TooManyNames));
    }
}
