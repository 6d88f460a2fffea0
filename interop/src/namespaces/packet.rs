//! What a middlebox sees of a packet: addresses, ports, flags and payload of IPv4. Everything else it lets pass. Source: RFC 791, RFC 9293.

use std::net::{Ipv4Addr, SocketAddrV4};

/// RFC 9293 section 3.1.
pub(super) const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What carries the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// With flags.
    Tcp(u8),
    /// Datagrams.
    Udp,
}

/// A packet, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'p> {
    /// TCP or UDP.
    pub(super) carrier: Carrier,
    /// Who sent it.
    pub(super) from: SocketAddrV4,
    /// Who is to get it.
    pub(super) to: SocketAddrV4,
    /// What it carries.
    pub(super) payload: &'p [u8],
    segment: &'p [u8],
}

impl<'p> Packet<'p> {
    /// Reads a packet; `None` for anything else than whole TCP or UDP over IPv4.
    pub(super) fn parse(bytes: &'p [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header = usize::from(first & 0x0F) * 4;
        if first >> 4 != 4 || header < 20 {
            return None;
        }
        let address = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|four| Ipv4Addr::from(*four));
        let segment = bytes.get(header..)?;
        let port = |at: usize| segment.get(at..)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two));
        let (carrier, offset) = match *bytes.get(9)? {
            TCP => (Carrier::Tcp(*segment.get(13)?), usize::from(*segment.get(12)? >> 4) * 4),
            UDP => (Carrier::Udp, 8),
            _ => return None,
        };
        Some(Self {
            carrier,
            from: SocketAddrV4::new(address(12)?, port(0)?),
            to: SocketAddrV4::new(address(16)?, port(2)?),
            payload: segment.get(offset..)?,
            segment,
        })
    }

    /// Whether it opens a connection.
    pub(super) fn is_syn(&self) -> bool {
        matches!(self.carrier, Carrier::Tcp(flags) if flags & (SYN | ACK) == SYN)
    }

    /// The reset that seems to be the receiver's answer.
    pub(super) fn reset(&self) -> Option<Vec<u8>> {
        let Carrier::Tcp(flags) = self.carrier else { return None };
        let number =
            |at: usize| self.segment.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four));
        let (sequence, acknowledged) = (number(4)?, number(8)?);
        // RFC 9293 section 3.5.2: to what has no acknowledgement, one of it.
        let length = u32::try_from(self.payload.len()).ok()?.wrapping_add(u32::from(flags & SYN != 0));
        let mut segment = [self.to.port().to_be_bytes(), self.from.port().to_be_bytes()].concat();
        segment.extend(if flags & ACK != 0 { acknowledged } else { 0 }.to_be_bytes());
        segment.extend(sequence.wrapping_add(length).to_be_bytes());
        segment.extend([5 << 4, RST | ACK, 0, 0, 0, 0, 0, 0]);
        let (from, to) = (self.to.ip().octets(), self.from.ip().octets());
        let pseudo = [&from[..], &to[..], &[0, TCP, 0, 20], &segment].concat();
        let check = checksum(&pseudo);
        segment.get_mut(16..18)?.copy_from_slice(&check.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
        packet.extend([from, to].concat());
        let check = checksum(&packet);
        packet.get_mut(10..12)?.copy_from_slice(&check.to_be_bytes());
        packet.extend(segment);
        Some(packet)
    }

    /// What seems to be the answer to a question for addresses, with this one. RFC 1035 section 4.
    pub(super) fn lie(&self, address: Ipv4Addr) -> Option<Vec<u8>> {
        let message = answer(self.payload, address)?;
        let length = u16::try_from(8 + message.len()).ok()?;
        let mut segment = [self.to.port().to_be_bytes(), self.from.port().to_be_bytes()].concat();
        segment.extend(length.to_be_bytes());
        // RFC 768: no checksum.
        segment.extend([0, 0]);
        segment.extend(message);
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        packet.extend([self.to.ip().octets(), self.from.ip().octets()].concat());
        let check = checksum(&packet);
        packet.get_mut(10..12)?.copy_from_slice(&check.to_be_bytes());
        packet.extend(segment);
        Some(packet)
    }

    /// The name in a ClientHello that begins here, where it is in the first packet. RFC 6066 section 3.
    pub(super) fn server_name(&self) -> Option<&'p [u8]> {
        let hello = self.payload.strip_prefix(&[22, 3])?;
        // The extension, its length, the list's, a host name's kind, and the name's length.
        let is_name = |bytes: &[u8]| {
            let number =
                |at: usize| bytes.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]));
            let lengths = number(2).zip(number(4)).zip(number(7));
            bytes.starts_with(&[0, 0])
                && bytes.get(6) == Some(&0)
                && matches!(lengths, Some(((all, list), name)) if all == list + 2 && list == name + 3 && name > 0)
        };
        let at = (0..hello.len()).find(|at| hello.get(*at..).is_some_and(is_name))?;
        let length = hello.get(at + 7..at + 9).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]))?;
        hello.get(at + 9..at + 9 + length)
    }
}

/// Answers a question for an IPv4 address with this one, and any other with nothing. RFC 1035 section 4.
pub(super) fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    /// Of the header, before the name.
    const HEADER: usize = 12;
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(HEADER..HEADER + name + 4)?;
    let is_v4 = asked.get(name..)? == [0, 1, 0, 1];
    let mut message = question.get(..2)?.to_vec();
    // An answer, recursion wanted and available; one question, and one answer to it.
    message.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    message.extend(asked);
    if is_v4 {
        // The name above, its address, for a minute.
        message.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_a_valid_packet_that_answers() {
        let mut syn = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, TCP, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        syn.extend([0x12, 0x34, 1, 0xBB, 0, 0, 0, 9, 0, 0, 0, 0, 5 << 4, SYN, 0, 0, 0, 0, 0, 0]);
        let packet = Packet::parse(&syn).unwrap();
        assert!(packet.is_syn() && packet.payload.is_empty());
        let reset = packet.reset().unwrap();
        let answer = Packet::parse(&reset).unwrap();
        assert_eq!((answer.from, answer.to), (packet.to, packet.from));
        assert_eq!(answer.carrier, Carrier::Tcp(RST | ACK));
        assert_eq!(answer.segment[8..12], [0, 0, 0, 10]);
        assert_eq!(checksum(&reset[..20]), 0);
        let pseudo = [&reset[12..20], &[0, TCP, 0, 20], &reset[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
