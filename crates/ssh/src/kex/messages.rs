//! The two messages of an exchange: KEXDH_INIT and KEXDH_REPLY, or their ECDH and hybrid namesakes.
//!
//! Source: RFC 4253 section 8 (`mpint` values), RFC 5656 section 4 (`string` values); the numbers are the same.

use super::KexError;
use crate::names::KexName;
use crate::wire::{Reader, WireError, WriteWire};

/// SSH_MSG_KEXDH_INIT, SSH_MSG_KEX_ECDH_INIT, SSH_MSG_KEX_HYBRID_INIT.
pub const INIT_MESSAGE: u8 = 30;
/// SSH_MSG_KEXDH_REPLY, SSH_MSG_KEX_ECDH_REPLY, SSH_MSG_KEX_HYBRID_REPLY.
pub const REPLY_MESSAGE: u8 = 31;

/// The client's message.
#[must_use]
pub fn encode_init(kex: KexName, client_public: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(client_public.len().saturating_add(8));
    out.put_u8(INIT_MESSAGE);
    put_public(&mut out, kex, client_public);
    out
}

/// The client's public value in its message, as [`super::ClientExchange::public`] has it.
pub fn parse_init(kex: KexName, payload: &[u8]) -> Result<&[u8], KexError> {
    let mut reader = expect(payload, INIT_MESSAGE)?;
    let public = read_public(&mut reader, kex)?;
    reader.finish()?;
    Ok(public)
}

/// The server's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Public key blob of the host key.
    pub host_key_blob: &'a [u8],
    /// Public value, as [`super::respond`] returns it.
    pub server_public: &'a [u8],
    /// Signature blob over the exchange hash.
    pub signature: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The payload.
    #[must_use]
    pub fn encode(&self, kex: KexName) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        out.put_u8(REPLY_MESSAGE);
        out.put_string(self.host_key_blob);
        put_public(&mut out, kex, self.server_public);
        out.put_string(self.signature);
        out
    }

    /// Parses a payload.
    pub fn parse(kex: KexName, payload: &'a [u8]) -> Result<Self, KexError> {
        let mut reader = expect(payload, REPLY_MESSAGE)?;
        let host_key_blob = reader.string()?;
        let server_public = read_public(&mut reader, kex)?;
        let signature = reader.string()?;
        reader.finish()?;
        Ok(Self { host_key_blob, server_public, signature })
    }
}

/// True if public values are numbers on the wire and in the exchange hash.
pub(super) const fn public_is_mpint(kex: KexName) -> bool {
    matches!(kex, KexName::DhGroup14Sha256 | KexName::DhGroup16Sha512)
}

/// Appends a public value in the encoding of the method.
pub(super) fn put_public(out: &mut Vec<u8>, kex: KexName, public: &[u8]) {
    if public_is_mpint(kex) {
        out.put_mpint(public);
    } else {
        out.put_string(public);
    }
}

fn read_public<'a>(reader: &mut Reader<'a>, kex: KexName) -> Result<&'a [u8], WireError> {
    if public_is_mpint(kex) { reader.mpint() } else { reader.string() }
}

fn expect(payload: &[u8], expected: u8) -> Result<Reader<'_>, KexError> {
    let mut reader = Reader::new(payload);
    let got = reader.u8()?;
    if got == expected { Ok(reader) } else { Err(KexError::WrongMessage { expected, got }) }
}
