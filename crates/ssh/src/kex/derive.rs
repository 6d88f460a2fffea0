//! From a shared secret to the exchange hash and to keys.
//!
//! Source: RFC 4253 section 8 (hash) and section 7.2 (keys), PROTOCOL.md 3.4 (string encoding of the hybrid secret).

use aws_lc_rs::digest::Context;
use zeroize::Zeroizing;

use super::messages::put_public;
use crate::kexinit::{Direction, Suite};
use crate::names::{KexHash, KexName};
use crate::wire::WriteWire;

/// The secret of an exchange, in the encoding that is hashed. Wiped when dropped.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret([redacted])")
    }
}

impl SharedSecret {
    /// From a big-endian number.
    #[must_use]
    pub(super) fn mpint(value: &[u8]) -> Self {
        let mut encoded = Self::with_room(value);
        encoded.put_mpint(value);
        Self(encoded)
    }

    /// From bytes that are not a number.
    #[must_use]
    pub(super) fn string(value: &[u8]) -> Self {
        let mut encoded = Self::with_room(value);
        encoded.put_string(value);
        Self(encoded)
    }

    /// Its bytes, as they are hashed. Public for tests only, which look whether they are forgotten.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Room for all that will be written: growing would leave a copy behind.
    fn with_room(value: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Vec::with_capacity(value.len().saturating_add(5)))
    }
}

/// All that the exchange hash covers besides the shared secret.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeInputs<'a> {
    /// The client's identification line without CR LF.
    pub client_ident: &'a [u8],
    /// The server's identification line without CR LF.
    pub server_ident: &'a [u8],
    /// The client's KEXINIT payload.
    pub client_kexinit: &'a [u8],
    /// The server's KEXINIT payload.
    pub server_kexinit: &'a [u8],
    /// The host key's public key blob.
    pub host_key_blob: &'a [u8],
    /// The client's public value.
    pub client_public: &'a [u8],
    /// The server's public value.
    pub server_public: &'a [u8],
}

/// An exchange hash; that of the first exchange is the session identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExchangeHash {
    hash: KexHash,
    bytes: [u8; 64],
}

impl std::fmt::Debug for ExchangeHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExchangeHash({:?}, [redacted])", self.hash)
    }
}

impl ExchangeHash {
    fn finish(hash: KexHash, context: Context) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self { hash, bytes }
    }

    /// The hash, 32 to 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.hash.output_len()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ExchangeHash {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The hash that the host key signs.
#[must_use]
pub fn exchange_hash(kex: KexName, inputs: &ExchangeInputs<'_>, secret: &SharedSecret) -> ExchangeHash {
    let mut covered = Vec::with_capacity(4096);
    for part in [
        inputs.client_ident,
        inputs.server_ident,
        inputs.client_kexinit,
        inputs.server_kexinit,
        inputs.host_key_blob,
    ] {
        covered.put_string(part);
    }
    put_public(&mut covered, kex, inputs.client_public);
    put_public(&mut covered, kex, inputs.server_public);
    let mut context = Context::new(kex.hash().algorithm());
    context.update(&covered);
    context.update(&secret.0);
    ExchangeHash::finish(kex.hash(), context)
}

/// What keys are derived from.
#[derive(Debug, Clone, Copy)]
pub struct KeySource<'a> {
    /// Secret of this exchange.
    pub secret: &'a SharedSecret,
    /// Hash of this exchange.
    pub hash: &'a ExchangeHash,
    /// Hash of the connection's first exchange.
    pub session_id: &'a ExchangeHash,
}

/// The keys of one direction. Wiped when dropped.
pub struct DirectionKeys {
    pub(crate) suite: Suite,
    pub(crate) iv: Zeroizing<Vec<u8>>,
    pub(crate) key: Zeroizing<Vec<u8>>,
    pub(crate) mac: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for DirectionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirectionKeys({:?}, [redacted])", self.suite)
    }
}

impl DirectionKeys {
    /// The cipher's key and the MAC's, which is empty where there is none. Public for tests only, which look whether
    /// they are forgotten.
    #[must_use]
    pub fn as_bytes(&self) -> [&[u8]; 2] {
        [&self.key, &self.mac]
    }
}

/// The keys of one direction, of the lengths that `suite` needs.
#[must_use]
pub fn derive_keys(source: &KeySource<'_>, direction: Direction, suite: Suite) -> DirectionKeys {
    // RFC 4253 section 7.2.
    let (iv, key, mac) = match direction {
        Direction::ClientToServer => (b'A', b'C', b'E'),
        Direction::ServerToClient => (b'B', b'D', b'F'),
    };
    DirectionKeys {
        suite,
        iv: derive(source, iv, suite.cipher.iv_len()),
        key: derive(source, key, suite.cipher.key_len()),
        mac: derive(source, mac, suite.mac.map_or(0, |mac| mac.key_len())),
    }
}

/// `length` bytes for `letter`: blocks are chained until there are enough.
fn derive(source: &KeySource<'_>, letter: u8, length: usize) -> Zeroizing<Vec<u8>> {
    let hash = source.hash.hash;
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(hash.output_len())));
    while out.len() < length {
        let mut context = Context::new(hash.algorithm());
        context.update(&source.secret.0);
        context.update(source.hash.as_bytes());
        if out.is_empty() {
            context.update(&[letter]);
            context.update(source.session_id.as_bytes());
        } else {
            context.update(&out);
        }
        out.extend_from_slice(context.finish().as_ref());
    }
    out.truncate(length);
    out
}
