//! Frames of the UDP gateway channel: datagrams inside a stream. PROTOCOL.md 7.1.
//!
//! Not here: sockets, and which destinations are allowed. Integers are of mixed endianness on the wire, which is intended.

use std::net::{IpAddr, SocketAddr};

/// The most bytes of one datagram.
pub const MAX_PACKET: usize = 32_768;
/// Flags and connection, which every frame has.
const MIN_SIZE: usize = 3;
/// All that can follow the size.
const MAX_SIZE: usize = 21 + MAX_PACKET;

/// What a frame says beside its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

/// A datagram from the client, or for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What the frame says.
    pub flags: Flags,
    /// The client's name for a socket.
    pub connection: u16,
    /// Where the datagram goes, or comes from.
    pub remote: SocketAddr,
    /// The datagram's bytes.
    pub packet: Vec<u8>,
}

/// Why the peer's stream must be closed, or a datagram cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpgwError {
    /// A size that no frame can have.
    #[error("the peer's udpgw frame has the size {size}")]
    Size {
        /// The size.
        size: usize,
    },
    /// Larger than a frame can hold.
    #[error("a datagram of {length} bytes does not fit a udpgw frame")]
    Packet {
        /// The datagram's length.
        length: usize,
    },
}

/// Reads frames from a stream in pieces of any size. Holds at most one frame.
#[derive(Debug, Default)]
pub struct FrameReader {
    frame: Vec<u8>,
}

impl Flags {
    const KEEPALIVE: u8 = 1;
    const REBIND: u8 = 2;
    const DNS: u8 = 4;
    const IPV6: u8 = 8;

    /// These flags, and a wish for a new socket.
    #[must_use]
    pub const fn with_rebind(self) -> Self {
        Self(self.0 | Self::REBIND)
    }

    /// These flags, for a DNS query.
    #[must_use]
    pub const fn with_dns(self) -> Self {
        Self(self.0 | Self::DNS)
    }

    /// The client wants a new socket for its connection.
    #[must_use]
    pub const fn rebind(self) -> bool {
        self.0 & Self::REBIND != 0
    }

    /// The datagram is a DNS query, for whatever resolver the server uses.
    #[must_use]
    pub const fn dns(self) -> bool {
        self.0 & Self::DNS != 0
    }

    const fn keepalive(self) -> bool {
        self.0 & Self::KEEPALIVE != 0
    }

    const fn ipv6(self) -> bool {
        self.0 & Self::IPV6 != 0
    }

    const fn address_length(self) -> usize {
        if self.ipv6() { 16 } else { 4 }
    }

    /// The least size of a frame with these flags.
    const fn min_size(self) -> usize {
        if self.keepalive() { MIN_SIZE } else { MIN_SIZE + self.address_length() + 2 }
    }
}

impl Datagram {
    /// Bytes of the frame before the datagram, its size included.
    #[must_use]
    pub fn header_length(&self) -> usize {
        if self.remote.is_ipv6() { 23 } else { 11 }
    }
}

impl FrameReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes up to the end of the next datagram's frame. Gives how many were taken, and the datagram if it is whole;
    /// keepalives are passed over.
    ///
    /// # Errors
    /// The stream is no longer made of frames; it must be closed.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Datagram>), UdpgwError> {
        self.read_as(input, |flags, _| Some(flags))
    }

    /// The same on the client's side, where frames do not tell the family of their address: `is_ipv6` knows it for each
    /// connection. Frames of connections that it does not know are passed over.
    ///
    /// # Errors
    /// The stream is no longer made of frames; it must be closed.
    pub fn read_downstream(
        &mut self,
        input: &[u8],
        is_ipv6: impl Fn(u16) -> Option<bool>,
    ) -> Result<(usize, Option<Datagram>), UdpgwError> {
        self.read_as(input, |flags, connection| {
            let family = if is_ipv6(connection)? { Flags::IPV6 } else { 0 };
            Some(Flags(flags.0 & !Flags::IPV6 | family))
        })
    }

    /// Reads with flags as they are meant; none is a frame to pass over.
    fn read_as(
        &mut self,
        input: &[u8],
        meant: impl Fn(Flags, u16) -> Option<Flags>,
    ) -> Result<(usize, Option<Datagram>), UdpgwError> {
        let mut rest = input;
        loop {
            self.take(&mut rest, 2);
            let Some((size, _)) = self.frame.split_first_chunk() else { break };
            let size = usize::from(u16::from_le_bytes(*size));
            if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
                return Err(UdpgwError::Size { size });
            }
            self.take(&mut rest, 3);
            let Some(flags) = self.frame.get(2).copied().map(Flags) else { break };
            if size < flags.min_size() {
                return Err(UdpgwError::Size { size });
            }
            self.take(&mut rest, 2 + size);
            if self.frame.len() < 2 + size {
                break;
            }
            let datagram = self.connection().and_then(|id| parse(meant(flags, id)?, &self.frame));
            self.frame.clear();
            if datagram.is_some() {
                return Ok((input.len() - rest.len(), datagram));
            }
        }
        Ok((input.len() - rest.len(), None))
    }

    /// The connection of a whole frame.
    fn connection(&self) -> Option<u16> {
        self.frame.get(3..)?.first_chunk().map(|id| u16::from_le_bytes(*id))
    }

    /// Moves bytes until the frame holds `total`, or none are left.
    fn take(&mut self, rest: &mut &[u8], total: usize) {
        let missing = total.saturating_sub(self.frame.len()).min(rest.len());
        let (taken, after) = rest.split_at(missing);
        self.frame.extend_from_slice(taken);
        *rest = after;
    }
}

/// Frames a datagram for the client. Flags are 0 even for IPv6, as in the reference: the client knows the family of each of
/// its connections.
///
/// # Errors
/// The datagram is larger than [`MAX_PACKET`].
pub fn encode_downstream(connection: u16, remote: SocketAddr, packet: &[u8]) -> Result<Vec<u8>, UdpgwError> {
    encode(Flags::default(), connection, remote, packet)
}

/// Frames a datagram for the server.
///
/// # Errors
/// The datagram is larger than [`MAX_PACKET`].
pub fn encode_upstream(datagram: &Datagram) -> Result<Vec<u8>, UdpgwError> {
    let family = if datagram.remote.is_ipv6() { Flags::IPV6 } else { 0 };
    let flags = Flags(datagram.flags.0 & (Flags::REBIND | Flags::DNS) | family);
    encode(flags, datagram.connection, datagram.remote, &datagram.packet)
}

fn encode(flags: Flags, connection: u16, remote: SocketAddr, packet: &[u8]) -> Result<Vec<u8>, UdpgwError> {
    let too_long = UdpgwError::Packet { length: packet.len() };
    if packet.len() > MAX_PACKET {
        return Err(too_long);
    }
    let address = match remote.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let size = u16::try_from(MIN_SIZE + address.len() + 2 + packet.len()).map_err(|_| too_long)?;
    let mut frame = size.to_le_bytes().to_vec();
    frame.push(flags.0);
    frame.extend(connection.to_le_bytes());
    frame.extend(address);
    frame.extend(remote.port().to_be_bytes());
    frame.extend(packet);
    Ok(frame)
}

/// Reads a whole frame; none if it is a keepalive. Its size was checked.
fn parse(flags: Flags, frame: &[u8]) -> Option<Datagram> {
    if flags.keepalive() {
        return None;
    }
    let (connection, rest) = frame.get(3..)?.split_first_chunk()?;
    let (address, rest) = rest.split_at_checked(flags.address_length())?;
    let (port, packet) = rest.split_first_chunk()?;
    let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from)).ok()?;
    Some(Datagram {
        flags,
        connection: u16::from_le_bytes(*connection),
        remote: SocketAddr::new(ip, u16::from_be_bytes(*port)),
        packet: packet.to_vec(),
    })
}

/// Shows neither destination nor contents.
impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagram")
            .field("flags", &self.flags)
            .field("connection", &self.connection)
            .field("packet", &self.packet.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let datagrams = ["192.0.2.1:53", "[2001:db8::1]:443"].map(|remote| Datagram {
            flags: Flags::default().with_rebind(),
            connection: 258,
            remote: remote.parse().unwrap(),
            packet: vec![7; MAX_PACKET],
        });
        let mut stream = vec![3, 0, 1, 9, 9];
        for datagram in &datagrams {
            stream.extend(encode_upstream(datagram).unwrap());
        }
        for piece in [1, 5, 4096, stream.len()] {
            let (mut reader, mut found) = (FrameReader::new(), Vec::new());
            for mut bytes in stream.chunks(piece) {
                while !bytes.is_empty() {
                    let (taken, datagram) = reader.read(bytes).unwrap();
                    found.extend(datagram);
                    bytes = &bytes[taken..];
                }
            }
            let seen: Vec<_> =
                found.iter().map(|d| (d.remote, d.packet.len(), d.flags.rebind(), d.flags.dns())).collect();
            let expected: Vec<_> = datagrams.iter().map(|d| (d.remote, MAX_PACKET, true, false)).collect();
            assert_eq!(seen, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_client_tells_families_by_connection() {
        let remotes: [SocketAddr; 2] =
            ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()];
        let mut stream = Vec::new();
        for (connection, remote) in [(1, remotes[0]), (9, remotes[1]), (2, remotes[1])] {
            stream.extend(encode_downstream(connection, remote, b"answer").unwrap());
        }
        let family = |connection| [(1, false), (2, true)].into_iter().find(|(id, _)| *id == connection);
        let (mut reader, mut bytes, mut found) = (FrameReader::new(), &stream[..], Vec::new());
        while !bytes.is_empty() {
            let (taken, datagram) =
                reader.read_downstream(bytes, |id| family(id).map(|(_, is_ipv6)| is_ipv6)).unwrap();
            found.extend(datagram.map(|datagram| (datagram.remote, datagram.packet)));
            bytes = &bytes[taken..];
        }
        assert_eq!(found, remotes.map(|remote| (remote, b"answer".to_vec())));
    }

    #[test]
    fn impossible_sizes_are_refused_before_they_are_buffered() {
        assert_eq!(FrameReader::new().read(&[2, 0]), Err(UdpgwError::Size { size: 2 }));
        assert_eq!(FrameReader::new().read(&[0xff, 0xff]), Err(UdpgwError::Size { size: 65_535 }));
        assert_eq!(FrameReader::new().read(&[8, 0, 0]), Err(UdpgwError::Size { size: 8 }));
        assert_eq!(FrameReader::new().read(&[20, 0, 8]), Err(UdpgwError::Size { size: 20 }));
        let remote = "192.0.2.1:1".parse().unwrap();
        let length = MAX_PACKET + 1;
        assert_eq!(encode_downstream(1, remote, &vec![0; length]), Err(UdpgwError::Packet { length }));
    }
}
