//! Headers that tell a destination who its client is: version 2 of the PROXY protocol, with a proof that one of our servers wrote
//! it; and finding a header that a client has put there itself. PROTOCOL.md 7.5, and the PROXY protocol's specification (2020-03-05).
//!
//! Not here: which destinations get one, and sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use zeroize::Zeroizing;

const ID_LEN: usize = 4;
const MAC_LEN: usize = 32;
const VERSION: u16 = 1;
const TLV: u8 = 0xEA;
/// Version, key, time and proof.
const TLV_LEN: usize = 2 + ID_LEN + 8 + MAC_LEN;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const SIGNATURE_V1: &[u8; 6] = b"PROXY ";
/// Version 2, and that there are addresses.
const PROXIED: u8 = 0x21;
const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;
/// Longest line of version 1, its end included.
const MAX_V1: usize = 107;
/// Longest header of version 2 that is taken from a client.
const MAX_V2: usize = 2048;

/// What proofs are made with. Debug shows nothing of it.
#[derive(Clone)]
pub struct HeaderKey {
    id: [u8; ID_LEN],
    key: Zeroizing<[u8; blake3::KEY_LEN]>,
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a key's 4 bytes of name and 32 bytes of key together in base64")]
pub struct KeyError;

/// What a flow begins with, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Something else than a header.
    Other,
    /// A header of so many bytes.
    Header(usize),
    /// Too little to tell.
    Open,
    /// A header's signature, and then no header.
    Broken,
}

impl fmt::Debug for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderKey([redacted])")
    }
}

impl HeaderKey {
    /// Reads a key as servers' settings have it.
    ///
    /// # Errors
    /// It is not base64, or not that long.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| KeyError)?);
        let (id, key) = bytes.split_first_chunk().ok_or(KeyError)?;
        Ok(Self { id: *id, key: Zeroizing::new(key.try_into().map_err(|_| KeyError)?) })
    }

    /// The header of a flow from `source`, whose port is not told, to `destination`. `unix_millis` is the time.
    #[must_use]
    pub fn header(&self, source: IpAddr, destination: SocketAddr, unix_millis: u64) -> Vec<u8> {
        let mut addresses = Vec::new();
        let family = match (source.to_canonical(), destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                addresses.extend(source.octets());
                addresses.extend(destination.octets());
                STREAM_V4
            }
            (source, destination) => {
                for address in [source, destination] {
                    addresses.extend(match address {
                        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                        IpAddr::V6(address) => address.octets(),
                    });
                }
                STREAM_V6
            }
        };
        addresses.extend([0, 0]);
        addresses.extend(destination.port().to_be_bytes());
        let tlv_length = u16::try_from(TLV_LEN).unwrap_or(u16::MAX);
        let length = u16::try_from(addresses.len() + 3 + TLV_LEN).unwrap_or(u16::MAX);
        let mut header = SIGNATURE.to_vec();
        header.extend([PROXIED, family]);
        header.extend(length.to_be_bytes());
        header.extend(addresses);
        header.push(TLV);
        header.extend(tlv_length.to_be_bytes());
        header.extend(VERSION.to_be_bytes());
        header.extend(self.id);
        header.extend(unix_millis.to_be_bytes());
        // The proof is of the whole header with zeros in its own place.
        header.extend([0; MAC_LEN]);
        let mac = blake3::keyed_hash(&self.key, &header);
        if let Some(place) = header.last_chunk_mut() {
            *place = *mac.as_bytes();
        }
        header
    }

    /// The time at which a server with this key wrote the header, in milliseconds since 1970; `None` if none did.
    #[must_use]
    pub fn verify(&self, header: &[u8]) -> Option<u64> {
        let (unproven, proof) = header.split_last_chunk::<MAC_LEN>()?;
        let (_, fields) = unproven.split_last_chunk::<{ TLV_LEN - MAC_LEN }>()?;
        let (named, time) = fields.split_last_chunk::<8>()?;
        if *named != *[&VERSION.to_be_bytes()[..], &self.id].concat() {
            return None;
        }
        // Compared in constant time, which is what equality of hashes is.
        let mac = blake3::keyed_hash(&self.key, &[unproven, &[0; MAC_LEN]].concat());
        (mac == *proof).then(|| u64::from_be_bytes(*time))
    }
}

/// What a flow begins with, of which `bytes` are the first. Never [`Beginning::Open`] for [`MAX_V2`] bytes or more.
#[must_use]
pub fn beginning(bytes: &[u8]) -> Beginning {
    let begins = |signature: &[u8]| {
        let length = signature.len().min(bytes.len());
        bytes.get(..length) == signature.get(..length)
    };
    if begins(SIGNATURE) {
        return second_version(bytes);
    }
    if !begins(SIGNATURE_V1) {
        return Beginning::Other;
    }
    let line = bytes.get(..MAX_V1).unwrap_or(bytes);
    match line.windows(2).position(|end| end == b"\r\n") {
        Some(at) if is_first_version(line.get(..at).unwrap_or_default()) => Beginning::Header(at + 2),
        Some(_) => Beginning::Broken,
        None if bytes.len() < MAX_V1 => Beginning::Open,
        None => Beginning::Broken,
    }
}

fn second_version(bytes: &[u8]) -> Beginning {
    let Some([command, family, high, low]) = bytes.get(12..16) else { return Beginning::Open };
    let length = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    // The specification's versions, commands, families and kinds.
    let is_known = matches!(command, 0x20 | 0x21) && family >> 4 <= 3 && family & 0xF <= 2;
    if !is_known || length > MAX_V2 {
        Beginning::Broken
    } else if bytes.len() < length {
        Beginning::Open
    } else {
        Beginning::Header(length)
    }
}

/// Section 2.1 of the specification: a family, and unless it is unknown two addresses and two ports.
fn is_first_version(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["PROXY", "UNKNOWN", ..] => true,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, ports @ ..] => {
            let fits =
                |text: &&str| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == (*family == "TCP4"));
            [from, to].into_iter().all(fits)
                && ports.len() == 2
                && ports.iter().all(|port| port.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HeaderKey {
        HeaderKey::parse(&BASE64.encode(&(1..=36).collect::<Vec<u8>>())).unwrap()
    }

    #[test]
    fn headers_prove_themselves_and_nothing_else() {
        let key = key();
        let header = key.header("192.0.2.1".parse().unwrap(), "198.51.100.2:443".parse().unwrap(), 1234);
        assert_eq!(key.verify(&header), Some(1234));
        assert_eq!(beginning(&header), Beginning::Header(header.len()));
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 1;
            assert_eq!(key.verify(&changed), None, "{at}");
            assert_eq!(key.verify(&header[..at]), None, "{at}");
        }
        assert_eq!(format!("{key:?}"), "HeaderKey([redacted])");
        for text in ["", "AAAA", "!", &BASE64.encode(&[0; 35]), &BASE64.encode(&[0; 37])] {
            assert_eq!(HeaderKey::parse(text).err(), Some(KeyError));
        }
    }

    /// Vectors of BLAKE3's authors: what the proofs stand on is built without its assembly.
    #[test]
    fn keyed_hashes_of_the_authors() {
        let key = b"whats the Elvish word for friend";
        let message: Vec<u8> = (0..=250).cycle().take(1024).collect();
        for (length, hash) in [
            (0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"),
            (1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"),
            (1023, "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e"),
            (1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"),
        ] {
            let found = blake3::keyed_hash(key, &message[..length]);
            assert_eq!(found.to_hex().as_str(), hash, "{length}");
        }
    }

    #[test]
    fn what_a_flow_begins_with() {
        let header = key().header("2001:db8::1".parse().unwrap(), "[2001:db8::2]:443".parse().unwrap(), 1);
        for length in 0..header.len() {
            assert_eq!(beginning(&header[..length]), Beginning::Open, "{length}");
        }
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
        for length in 0..line.len() {
            assert_eq!(beginning(&line[..length]), Beginning::Open, "{length}");
        }
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        for (bytes, expected) in [
            (&[&line[..], b"GET / HTTP/1.1"].concat()[..], Beginning::Header(line.len())),
            (b"PROXY UNKNOWN\r\n", Beginning::Header(15)),
            (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Beginning::Broken),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", Beginning::Broken),
            (&long, Beginning::Broken),
            (b"PRO", Beginning::Open),
            (b"PROPFIND / HTTP/1.1", Beginning::Other),
            (b"\r\n\r\nGET", Beginning::Other),
            (b"\x16\x03\x01", Beginning::Other),
            (b"", Beginning::Open),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0", Beginning::Broken),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0", Beginning::Broken),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", Beginning::Broken),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0", Beginning::Header(16)),
        ] {
            assert_eq!(beginning(bytes), expected, "{bytes:?}");
        }
    }
}
