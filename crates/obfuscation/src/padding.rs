//! Padding inside the obfuscated handshake: of the server's identification line and of the key exchange packets,
//! and the generators it is drawn from. Source: `PROTOCOL.md` 2.6, 2.7.

use std::time::Duration;

use crate::preamble::MAX_PADDING;
use crate::{Direction, GeneratedPrefix, Keystream, Keyword, Prng, Seed};

/// Longest line of identification padding, its CR LF included (`PROTOCOL.md` 2.7).
const MAX_PADDING_LINE: usize = 512;
const CRLF: &[u8; 2] = b"\r\n";
/// Longest packet (the value of its length field) before keys are in force (`PROTOCOL.md` 2.7).
pub const MAX_KEX_PACKET: usize = 262_144;
/// Most padding of an SSH packet (RFC 4253 section 6).
const MAX_SSH_PADDING: u8 = 255;
/// The block that a legacy peer wants packets to be multiples of (`PROTOCOL.md` 2.7).
const LEGACY_BLOCK: u8 = 16;

/// What a generator derived from a side's padding seed is for. The two sides' padding seeds differ: the client's
/// is its own, the server's is the first 32 bytes of the client's padding (`PROTOCOL.md` 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingUse {
    /// Identification padding (server), then key exchange packets (either side), from one generator.
    Handshake,
    /// The pause after the server's prefix.
    PrefixSplit,
    /// How the server fragments what it sends.
    ServerFragmentor,
}

impl PaddingUse {
    /// The derivation label (`PROTOCOL.md` 2.6).
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "obfuscated-ssh-padding",
            Self::PrefixSplit => "obfuscated-ssh-prefix-split",
            Self::ServerFragmentor => "server-side-fragmentor",
        }
    }

    /// The seed for this use.
    #[must_use]
    pub fn seed(self, padding_seed: &Seed) -> Seed {
        padding_seed.derive(self.label())
    }

    /// The generator for this use.
    #[must_use]
    pub fn prng(self, padding_seed: &Seed) -> Prng {
        Prng::new(&self.seed(padding_seed))
    }
}

/// The lines of NULs that a server sends before its identification, in clear: 2 to 8192 bytes in all, lines of
/// at most 512 (`PROTOCOL.md` 2.7).
#[must_use]
pub fn identification_padding(prng: &mut Prng) -> Vec<u8> {
    let total = prng.below(MAX_PADDING - CRLF.len() + 1) + CRLF.len();
    let mut out = Vec::with_capacity(total);
    while out.len() < total {
        let left = total - out.len();
        let mut line = left.min(MAX_PADDING_LINE);
        // The last line needs room for its own CR LF.
        if left - line == 1 {
            line -= 1;
        }
        out.resize(out.len() + line - CRLF.len(), 0);
        out.extend_from_slice(CRLF);
    }
    out
}

/// A server's first bytes: its prefix if it sends one, then the hidden identification padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOpening {
    /// What to send, before the identification line (hidden by the same stream).
    pub bytes: Vec<u8>,
    /// How many of them to write first: all, unless a split was asked for.
    pub first_write: usize,
    /// The pause after that first write; zero when it is the only one.
    pub split_delay: Duration,
}

impl ServerOpening {
    /// The opening without a prefix. `padding` is the side's [`PaddingUse::Handshake`] generator, which goes on
    /// to pad the packets.
    #[must_use]
    pub fn new(padding: &mut Prng, to_client: &mut Keystream) -> Self {
        let mut bytes = identification_padding(padding);
        to_client.apply(&mut bytes);
        Self { first_write: bytes.len(), bytes, split_delay: Duration::ZERO }
    }

    /// Puts a prefix before it, and with `split` a pause behind the prefix (`PROTOCOL.md` 2.5). The reference
    /// sends 24 random bytes under a name it does not know.
    #[must_use]
    pub fn with_prefix(self, keyword: &Keyword, prefix: &GeneratedPrefix, split: Option<Duration>) -> Self {
        let mut bytes = prefix.terminated(keyword, Direction::ServerToClient);
        bytes.extend_from_slice(&self.bytes);
        match split.filter(|_| prefix.unfilled() > 0) {
            Some(split_delay) => Self { first_write: prefix.unfilled(), bytes, split_delay },
            None => Self { first_write: bytes.len(), bytes, split_delay: Duration::ZERO },
        }
    }
}

/// How key exchange packets are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingStyle {
    /// Any length: packets are no multiple of a block on purpose.
    Any,
    /// Whole blocks of 16, for peers that insist on them.
    Legacy,
}

impl PaddingStyle {
    /// The style for a peer, by its identification line (`PROTOCOL.md` 2.7).
    #[must_use]
    pub fn for_peer(identification: &[u8]) -> Self {
        const LEGACY: &[u8] = b"Ganymed";
        if identification.windows(LEGACY.len()).any(|part| part == LEGACY) { Self::Legacy } else { Self::Any }
    }
}

/// Why bytes are no plaintext SSH packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KexPacketError {
    /// Peer (or a bug, for our own packets): the length field is out of bounds.
    #[error("a plaintext SSH packet announces {0} bytes; 1 to {MAX_KEX_PACKET} are allowed")]
    Length(u32),
    /// Peer (or a bug): more padding than packet.
    #[error("a plaintext SSH packet of {len} bytes announces {padding} bytes of padding")]
    Padding {
        /// The length field.
        len: usize,
        /// The padding field.
        padding: u8,
    },
    /// A bug: the bytes to pad are not exactly one packet.
    #[error("the bytes to pad are not exactly one SSH packet")]
    NotOne,
}

/// The size in bytes of the plaintext packet that `bytes` starts with, length field included; `None` while too
/// little is there to tell (`PROTOCOL.md` 2.7).
///
/// # Errors
/// The header is out of bounds.
pub fn kex_packet_size(bytes: &[u8]) -> Result<Option<usize>, KexPacketError> {
    let Some([a, b, c, d, padding]) = bytes.first_chunk() else { return Ok(None) };
    let announced = u32::from_be_bytes([*a, *b, *c, *d]);
    let len = announced as usize;
    if !(1..=MAX_KEX_PACKET).contains(&len) {
        return Err(KexPacketError::Length(announced));
    }
    if usize::from(*padding) >= len {
        return Err(KexPacketError::Padding { len, padding: *padding });
    }
    Ok(Some(len + 4))
}

/// Adds padding to one plaintext packet, before it is hidden (`PROTOCOL.md` 2.7). A packet without room for more
/// draws nothing.
///
/// # Errors
/// `packet` is not exactly one packet.
pub fn pad_kex_packet(
    prng: &mut Prng,
    style: PaddingStyle,
    packet: &mut Vec<u8>,
) -> Result<(), KexPacketError> {
    if kex_packet_size(packet)? != Some(packet.len()) {
        return Err(KexPacketError::NotOne);
    }
    let Some([a, b, c, d, padding]) = packet.first_chunk_mut() else { return Err(KexPacketError::NotOne) };
    let room = MAX_SSH_PADDING - *padding;
    let extra = match style {
        PaddingStyle::Any if room > 0 => prng.below(usize::from(room) + 1),
        PaddingStyle::Legacy if room >= LEGACY_BLOCK => {
            prng.below(usize::from(room / LEGACY_BLOCK)) * usize::from(LEGACY_BLOCK)
        }
        PaddingStyle::Any | PaddingStyle::Legacy => return Ok(()),
    };
    // `extra` is at most `room`, so neither sum overflows.
    *padding += extra as u8;
    let len = u32::from_be_bytes([*a, *b, *c, *d]) + extra as u32;
    [*a, *b, *c, *d] = len.to_be_bytes();
    let start = packet.len();
    packet.resize(start + extra, 0);
    if let Some(added) = packet.get_mut(start..) {
        prng.fill(added);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prng(seed: u8) -> Prng {
        Prng::new(&Seed::from_bytes([seed; 32]))
    }

    #[test]
    fn identification_padding_is_lines_of_nuls() {
        for seed in 0..200 {
            let padding = identification_padding(&mut prng(seed));
            assert!((2..=MAX_PADDING).contains(&padding.len()), "seed {seed}");
            assert!(padding.ends_with(CRLF), "seed {seed}");
            let mut lines = padding.split_inclusive(|byte| *byte == b'\n');
            assert!(lines.all(|line| line.len() <= 512 && line.ends_with(CRLF)), "seed {seed}");
        }
    }

    #[test]
    fn packets_grow_by_their_padding_only() {
        for seed in 0..100 {
            for style in [PaddingStyle::Any, PaddingStyle::Legacy] {
                let mut packet = vec![0, 0, 0, 12, 10, 21];
                packet.resize(16, 7);
                pad_kex_packet(&mut prng(seed), style, &mut packet).unwrap();
                assert_eq!(kex_packet_size(&packet).unwrap(), Some(packet.len()), "seed {seed}");
                assert_eq!(
                    packet.len() - 5 - usize::from(packet[4]),
                    1,
                    "the payload is one byte, seed {seed}"
                );
                assert!(style == PaddingStyle::Any || packet.len() % 16 == 0, "seed {seed}");
            }
        }
    }

    #[test]
    fn impossible_packets_are_refused() {
        assert_eq!(kex_packet_size(&[0, 0, 0, 0, 0]), Err(KexPacketError::Length(0)));
        assert_eq!(kex_packet_size(&[0, 4, 0, 1, 0]), Err(KexPacketError::Length(262_145)));
        assert_eq!(kex_packet_size(&[0, 0, 0, 4, 4]), Err(KexPacketError::Padding { len: 4, padding: 4 }));
        assert_eq!(kex_packet_size(&[0, 0, 0, 4]), Ok(None));
        let mut long = vec![0, 0, 0, 2, 0, 0, 0];
        assert_eq!(pad_kex_packet(&mut prng(0), PaddingStyle::Any, &mut long), Err(KexPacketError::NotOne));
    }

    #[test]
    fn ganymed_is_legacy() {
        assert_eq!(PaddingStyle::for_peer(b"SSH-2.0-Ganymed_1"), PaddingStyle::Legacy);
        assert_eq!(PaddingStyle::for_peer(b"SSH-2.0-OpenSSH_8.1"), PaddingStyle::Any);
    }
}
