//! What two KEXINIT messages agree on.
//!
//! Source: RFC 4253 section 7.1, PROTOCOL.md 3.1, 3.4 and 11.

use std::fmt;

use thiserror::Error;

use super::offer::{OfferPolicy, offer};
use super::{Direction, KexInit, Name, NameLists, Role};
use crate::names::{CipherName, HostKeyAlgorithm, KexName, MacName, wire_name};

/// The algorithms of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "three independent facts, each read by another state")]
pub struct Negotiated {
    /// Key exchange method.
    pub kex: KexName,
    /// Host key signature algorithm.
    pub host_key: HostKeyAlgorithm,
    /// Cipher, client to server.
    pub cipher_c2s: CipherName,
    /// Cipher, server to client.
    pub cipher_s2c: CipherName,
    /// MAC, client to server; none with an authenticated cipher.
    pub mac_c2s: Option<MacName>,
    /// MAC, server to client; none with an authenticated cipher.
    pub mac_s2c: Option<MacName>,
    /// The peer announced a guess and it is wrong: its next packet is to be ignored.
    pub guess_wrong: bool,
    /// The client's list carries `ext-info-c`.
    pub client_wants_ext_info: bool,
    /// Both lists carry their marker of the strict exchange. Counts in the first exchange only.
    pub strict: bool,
}

impl Negotiated {
    /// The packet protection of one direction.
    #[must_use]
    pub const fn suite(&self, direction: Direction) -> Suite {
        match direction {
            Direction::ClientToServer => Suite { cipher: self.cipher_c2s, mac: self.mac_c2s },
            Direction::ServerToClient => Suite { cipher: self.cipher_s2c, mac: self.mac_s2c },
        }
    }
}

/// The packet protection of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// The cipher.
    pub cipher: CipherName,
    /// Its MAC; none with an authenticated cipher.
    pub mac: Option<MacName>,
}

/// What is agreed on, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Key exchange methods.
    Kex,
    /// Host key algorithms.
    HostKey,
    /// Ciphers.
    Cipher(Direction),
    /// MACs.
    Mac(Direction),
    /// Compression.
    Compression(Direction),
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, direction) = match self {
            Self::Kex => return f.write_str("key exchange method"),
            Self::HostKey => return f.write_str("host key algorithm"),
            Self::Cipher(direction) => ("cipher", direction),
            Self::Mac(direction) => ("MAC", direction),
            Self::Compression(direction) => ("compression", direction),
        };
        let way = match direction {
            Direction::ClientToServer => "client to server",
            Direction::ServerToClient => "server to client",
        };
        write!(f, "{what}, {way}")
    }
}

/// Why nothing usable is agreed. The peers' configurations do not fit: disconnect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NegotiateError {
    /// The two lists share no name.
    #[error("no common {category}")]
    NoCommon {
        /// Which lists.
        category: Category,
    },
    /// The agreed name is offered for appearance only and is not secure enough, or not implemented.
    #[error("agreed {category} is refused: {name}")]
    Refused {
        /// Which lists.
        category: Category,
        /// The agreed name.
        name: Name,
    },
}

/// What a client that offers by `policy` will agree on with a server that offers as the reference does, before
/// anything is sent. `ours` are the lists that the policy gave.
pub fn predict(policy: &OfferPolicy, ours: &NameLists) -> Result<Negotiated, NegotiateError> {
    let server = OfferPolicy {
        role: Role::Server,
        no_encrypt_then_mac: policy.no_encrypt_then_mac,
        seed: policy.peer_seed.clone(),
        peer_seed: None,
        host_key_names: OfferPolicy::rsa_host_key_names(),
    };
    let kexinit = |lists| KexInit { cookie: [0; 16], lists, first_kex_packet_follows: false };
    negotiate(Role::Client, &kexinit(ours.clone()), &kexinit(offer(&server, true)))
}

/// Agrees on algorithms; `role` is this end's, to tell whose guess has to be judged.
pub fn negotiate(role: Role, client: &KexInit, server: &KexInit) -> Result<Negotiated, NegotiateError> {
    let (c, s) = (&client.lists, &server.lists);
    let kex = agree(Category::Kex, &c.kex, &s.kex, KexName::parse)?;
    let host_key = agree(Category::HostKey, &c.host_key, &s.host_key, HostKeyAlgorithm::parse)?;

    let (up, down) = (Direction::ClientToServer, Direction::ServerToClient);
    let cipher_c2s = agree(Category::Cipher(up), &c.cipher_c2s, &s.cipher_c2s, CipherName::parse)?;
    let cipher_s2c = agree(Category::Cipher(down), &c.cipher_s2c, &s.cipher_s2c, CipherName::parse)?;
    let mac_c2s = agree_mac(cipher_c2s, up, &c.mac_c2s, &s.mac_c2s)?;
    let mac_s2c = agree_mac(cipher_s2c, down, &c.mac_s2c, &s.mac_s2c)?;
    agree(Category::Compression(up), &c.compression_c2s, &s.compression_c2s, uncompressed)?;
    agree(Category::Compression(down), &c.compression_s2c, &s.compression_s2c, uncompressed)?;

    let peer = match role {
        Role::Client => server,
        Role::Server => client,
    };
    // PROTOCOL.md 3.3: marker names count as entries.
    let first_names_differ = c.kex.first() != s.kex.first() || c.host_key.first() != s.host_key.first();
    Ok(Negotiated {
        kex,
        host_key,
        cipher_c2s,
        cipher_s2c,
        mac_c2s,
        mac_s2c,
        guess_wrong: peer.first_kex_packet_follows && first_names_differ,
        client_wants_ext_info: has(&c.kex, wire_name::EXT_INFO_C),
        // PROTOCOL.md 3.1: shaping may have dropped either marker.
        strict: has(&c.kex, wire_name::KEX_STRICT_C) && has(&s.kex, wire_name::KEX_STRICT_S),
    })
}

/// The first name of the client that the server has too (RFC 4253 section 7.1), if it is usable.
fn agree<T>(
    category: Category,
    client: &[Name],
    server: &[Name],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, NegotiateError> {
    let name =
        client.iter().find(|name| server.contains(name)).ok_or(NegotiateError::NoCommon { category })?;
    parse(name).ok_or_else(|| NegotiateError::Refused { category, name: name.clone() })
}

/// No MAC is agreed with an authenticated cipher: its lists need not even have a common name.
fn agree_mac(
    cipher: CipherName,
    direction: Direction,
    client: &[Name],
    server: &[Name],
) -> Result<Option<MacName>, NegotiateError> {
    if cipher.is_aead() {
        return Ok(None);
    }
    agree(Category::Mac(direction), client, server, MacName::parse).map(Some)
}

/// `zlib@openssh.com` may be agreed and is never applied (PROTOCOL.md 3.1).
fn uncompressed(name: &str) -> Option<()> {
    matches!(name, wire_name::COMPRESSION_NONE | wire_name::COMPRESSION_ZLIB_OPENSSH).then_some(())
}

fn has(list: &[Name], name: &str) -> bool {
    list.iter().any(|entry| entry == name)
}
