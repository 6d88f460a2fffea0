//! Reads the key exchange off the wire: the harness knows the obfuscation key, so it can lift the obfuscation layer and see both
//! KEXINITs. Written from PROTOCOL.md 2.1 to 2.3 and 2.7, apart from the product's code.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::failure::Failure;
use crate::kexinit::{self, Negotiated};
use crate::relay::Seen;
use crate::scenario::Protocol;

/// What client and server agreed on by what was seen of their connection, which must not begin with a prefix.
pub(crate) fn negotiated(protocol: Protocol, keyword: &str, seen: &Seen) -> Result<Negotiated, Failure> {
    match protocol {
        Protocol::Ssh => kexinit::negotiate(&seen.upstream, &seen.downstream),
        Protocol::Shadowsocks
        | Protocol::Tls
        | Protocol::Quic
        | Protocol::Meek
        | Protocol::MeekHttps
        | Protocol::MeekTicket
        | Protocol::Fronted
        | Protocol::FrontedHttp1
        | Protocol::FrontedHttp => {
            Err(Failure::mismatch("protocol", "one that can be read", protocol.name()))
        }
        Protocol::Ossh => {
            let (upstream, downstream) = deobfuscate(keyword.as_bytes(), seen).ok_or_else(|| {
                Failure::mismatch("client preamble", "the magic value under the key", "something else")
            })?;
            kexinit::negotiate(&upstream, &downstream)
        }
    }
}

/// PROTOCOL.md 2.3: seed, then under the stream cipher the magic value, the padding's length, and the padding.
fn deobfuscate(keyword: &[u8], seen: &Seen) -> Option<(Vec<u8>, Vec<u8>)> {
    let (seed, rest) = seen.upstream.split_first_chunk::<16>()?;
    let mut upstream = rest.to_vec();
    Rc4::new(&derive(seed, keyword, b"client_to_server")).apply(&mut upstream);
    let (magic, rest) = upstream.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    if u32::from_be_bytes(*magic) != 0x0BF5_CA7E {
        return None;
    }
    let padding = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let upstream = rest.get(padding..)?.to_vec();
    let mut downstream = seen.downstream.clone();
    Rc4::new(&derive(seed, keyword, b"server_to_client")).apply(&mut downstream);
    Some((upstream, downstream))
}

/// PROTOCOL.md 2.2.
fn derive(seed: &[u8], keyword: &[u8], label: &[u8]) -> Vec<u8> {
    let sha1 = |input: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, input).as_ref().to_vec();
    let mut key = sha1(&[seed, keyword, label].concat());
    for _ in 0..6000 {
        key = sha1(&key);
    }
    key.truncate(16);
    key
}

struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    fn new(key: &[u8]) -> Self {
        let mut cipher =
            Self { state: std::array::from_fn(|index| u8::try_from(index).unwrap_or(0)), i: 0, j: 0 };
        let mut j = 0_u8;
        for (index, byte) in key.iter().cycle().take(256).enumerate() {
            let value = cipher.state.get(index).copied().unwrap_or(0);
            j = j.wrapping_add(value).wrapping_add(*byte);
            cipher.state.swap(index, usize::from(j));
        }
        cipher
    }

    fn apply(&mut self, data: &mut [u8]) {
        let at = |state: &[u8; 256], index: u8| state.get(usize::from(index)).copied().unwrap_or(0);
        for byte in data {
            self.i = self.i.wrapping_add(1);
            self.j = self.j.wrapping_add(at(&self.state, self.i));
            self.state.swap(usize::from(self.i), usize::from(self.j));
            let index = at(&self.state, self.i).wrapping_add(at(&self.state, self.j));
            *byte ^= at(&self.state, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rc4_known_answer() {
        // The widely published answer for key "Key" and text "Plaintext".
        let mut data = *b"Plaintext";
        Rc4::new(b"Key").apply(&mut data);
        assert_eq!(data, [0xBB, 0xF3, 0x16, 0xE8, 0xD9, 0x40, 0xAF, 0x0A, 0xD3]);
    }
}
