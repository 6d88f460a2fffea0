//! The beginning of a client's ClientHello, read out of its Initial packets without a QUIC connection: anybody can decrypt those. Takes
//! and gives bytes only. Source: RFC 9000 section 17.2.2, RFC 9001 section 5, TRANSPORTS.md 3.3.

use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};

use super::wire::{MIN_INITIAL, is_initial};

/// The longest connection identifier. RFC 9000 section 17.2.
pub const MAX_CID: usize = 20;
/// Bytes of a ClientHello up to the end of its random: type, length, version, random.
const START: usize = 4 + 2 + RANDOM;
const RANDOM: usize = 32;
const CLIENT_HELLO: u8 = 1;
/// RFC 9001 section 5.4.2.
const SAMPLE: usize = 16;
const MOST_PN: usize = 4;

/// A connection identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cid {
    bytes: [u8; MAX_CID],
    len: u8,
}

impl Cid {
    /// `None`: it is too long.
    #[must_use]
    pub fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_CID];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, len: u8::try_from(from.len()).ok()? })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Cid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted connection id]")
    }
}

/// An Initial packet, still protected.
#[derive(Debug)]
pub struct Initial<'p> {
    /// To whom it goes; chosen by the client in its first.
    pub destination: Cid,
    /// Header and payload.
    packet: &'p [u8],
    /// Where the packet number begins.
    number_at: usize,
}

impl<'p> Initial<'p> {
    /// The first packet of a datagram, if that is an Initial of version 1 and the datagram is long enough to carry one.
    #[must_use]
    pub fn parse(datagram: &'p [u8]) -> Option<Self> {
        if !is_initial(datagram) || datagram.len() < MIN_INITIAL {
            return None;
        }
        let mut fields = Fields { bytes: datagram, at: 5 };
        let destination = Cid::new(fields.vector8()?)?;
        Cid::new(fields.vector8()?)?;
        let token = fields.length()?;
        fields.take(token)?;
        let length = fields.length()?;
        let number_at = fields.at;
        let packet = datagram.get(..number_at.checked_add(length)?)?;
        (length >= MOST_PN + SAMPLE).then_some(Self { destination, packet, number_at })
    }

    /// Adds what it carries of the handshake to `hello`. `None`: it was not made for this destination, or is malformed.
    #[must_use]
    pub fn read_into(&self, hello: &mut HelloStart) -> Option<()> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
        let destination = self.destination.as_bytes();
        let keys = Keys::initial(Version::V1, suite, suite.quic?, destination, Side::Server).remote;
        let mut packet = self.packet.to_vec();
        let (header, rest) = packet.split_at_mut_checked(self.number_at)?;
        let (number, sample) = rest.split_at_mut_checked(MOST_PN)?;
        keys.header.decrypt_in_place(sample.get(..SAMPLE)?, header.first_mut()?, number).ok()?;
        let number_len = usize::from(header.first()? & 3) + 1;
        let number = number.get(..number_len)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (header, payload) = packet.split_at_mut_checked(self.number_at + number_len)?;
        let frames = keys.packet.decrypt_in_place(number, header, payload).ok()?;
        hello.read_frames(frames)
    }
}

/// What is there of a ClientHello up to its random, whose pieces may come in any order and in several packets.
#[derive(Clone, Debug)]
pub struct HelloStart {
    bytes: [u8; START],
    have: u64,
}

impl Default for HelloStart {
    fn default() -> Self {
        Self { bytes: [0; START], have: 0 }
    }
}

/// Whether the random is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It may still come.
    Incomplete,
    /// It is.
    Random([u8; RANDOM]),
    /// What is there is no ClientHello.
    Other,
}

impl HelloStart {
    /// Adds what these frames carry. Ends at the first that an Initial may not have, as the reference does; `None`: one is cut off. RFC 9000
    /// section 12.4.
    #[must_use]
    pub fn read_frames(&mut self, frames: &[u8]) -> Option<()> {
        let mut fields = Fields { bytes: frames, at: 0 };
        while let Some([kind]) = fields.take(1) {
            match kind {
                // PADDING, PING.
                0 | 1 => {}
                // ACK, with counts or without.
                2 | 3 => {
                    let (_largest, _delay) = (fields.number()?, fields.number()?);
                    let ranges = fields.number()?;
                    fields.number()?;
                    for _ in 0..ranges {
                        let (_gap, _range) = (fields.number()?, fields.number()?);
                    }
                    if *kind == 3 {
                        let (_ect0, _ect1, _ce) = (fields.number()?, fields.number()?, fields.number()?);
                    }
                }
                // CRYPTO.
                6 => {
                    let (offset, length) = (fields.number()?, fields.length()?);
                    self.add(offset, fields.take(length)?);
                }
                _ => break,
            }
        }
        Some(())
    }

    fn add(&mut self, offset: u64, data: &[u8]) {
        let Ok(offset) = usize::try_from(offset) else { return };
        let places = self.bytes.iter_mut().enumerate().skip(offset);
        for ((at, place), byte) in places.zip(data) {
            // What came first counts, as for the library that reads it later.
            if self.have & 1 << at == 0 {
                *place = *byte;
                self.have |= 1 << at;
            }
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        if self.have & 1 == 1 && self.bytes.first() != Some(&CLIENT_HELLO) {
            return Progress::Other;
        }
        if self.have != (1 << START) - 1 {
            return Progress::Incomplete;
        }
        self.bytes.last_chunk().map_or(Progress::Other, |random| Progress::Random(*random))
    }
}

/// A cursor.
struct Fields<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Fields<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let len = *self.take(1)?.first()?;
        self.take(len.into())
    }

    /// RFC 9000 section 16.
    fn number(&mut self) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        let more = self.take((1 << (first >> 6)) - 1)?;
        Some(more.iter().fold(u64::from(first & 0x3F), |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }
}

/// Initial packets as clients make them.
#[cfg(test)]
pub(super) mod test_packets {
    use super::*;

    /// An Initial that carries these frames, of so many bytes.
    pub(crate) fn initial(frames: &[u8], destination: &[u8], size: usize) -> Vec<u8> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let keys = Keys::initial(Version::V1, suite, suite.quic.unwrap(), destination, Side::Client).local;
        let mut header = vec![0xC0, 0, 0, 0, 1, u8::try_from(destination.len()).unwrap()];
        header.extend(destination);
        header.extend([0, 0]);
        let length = u16::try_from(size - header.len() - 2).unwrap() | 0x4000;
        header.extend(length.to_be_bytes());
        let number_at = header.len();
        header.push(0);
        let mut payload = frames.to_vec();
        payload.resize(size - header.len() - SAMPLE, 0);
        let tag = keys.packet.encrypt_in_place(0, &header, &mut payload).unwrap();
        let mut packet = [header, payload, tag.as_ref().to_vec()].concat();
        let (head, rest) = packet.split_at_mut(number_at);
        let sample = rest[4..4 + SAMPLE].to_vec();
        keys.header.encrypt_in_place(&sample, &mut head[0], &mut rest[..1]).unwrap();
        packet
    }

    pub(crate) fn crypto(offset: u8, data: &[u8]) -> Vec<u8> {
        [&[6, offset, u8::try_from(data.len()).unwrap()], data].concat()
    }

    /// A ClientHello up to the end of its random.
    pub(crate) fn hello_start(random: [u8; RANDOM]) -> Vec<u8> {
        [&[CLIENT_HELLO, 0, 0, 0xED, 3, 3][..], &random].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::test_packets::{crypto, hello_start, initial};
    use super::*;

    fn read(packets: &[Vec<u8>]) -> Option<Progress> {
        let mut hello = HelloStart::default();
        for packet in packets {
            Initial::parse(packet)?.read_into(&mut hello)?;
        }
        Some(hello.progress())
    }

    #[test]
    fn the_random_is_read_whatever_its_pieces() {
        let hello = hello_start([0x5A; RANDOM]);
        let random = Progress::Random(*hello.last_chunk().unwrap());
        let destination = [0x83, 0x94, 0xC8, 0xF0, 0x3E, 0x51, 0x57, 0x08];
        let make = |frames: &[Vec<u8>]| initial(&frames.concat(), &destination, MIN_INITIAL);
        let whole = make(&[crypto(0, &hello)]);
        assert_eq!(read(&[whole]), Some(random));
        let shuffled = make(&[
            crypto(20, &hello[20..]),
            vec![1, 0, 0, 2, 5, 0, 1, 0, 1, 1, 3, 5, 0, 0, 0, 1, 2, 3],
            crypto(0, &hello[..20]),
        ]);
        assert_eq!(read(&[shuffled]), Some(random));
        let (first, second) = (make(&[crypto(7, &hello[7..])]), make(&[crypto(0, &hello[..7])]));
        assert_eq!(read(std::slice::from_ref(&first)), Some(Progress::Incomplete));
        assert_eq!(read(&[first, second]), Some(random));
        assert_eq!(read(&[make(&[crypto(0, &[2])])]), Some(Progress::Other));
    }

    #[test]
    fn others_are_refused() {
        let packet = initial(&crypto(0, &hello_start([0x5A; RANDOM])), &[1; 8], MIN_INITIAL);
        let mut hello = HelloStart::default();
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 4;
            let read = Initial::parse(&changed).and_then(|initial| initial.read_into(&mut hello));
            assert_eq!(read, None, "byte {at}");
        }
        for len in 0..packet.len() {
            assert!(Initial::parse(&packet[..len]).is_none());
        }
    }
}
