//! The header that SOCKS puts before each datagram between application and proxy. Pure functions.
//!
//! Source: RFC 1928 section 7.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{Destination, Host};

/// Before the largest datagram: three bytes, the kind, a name with its length, the port.
pub const LONGEST_HEADER: usize = 3 + 1 + 256 + 2;

/// Why a datagram is dropped. There is no way to tell the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the application's datagram is shorter than its header")]
    Short,
    #[error("the application's datagram is a fragment; they are not put together (RFC 1928 section 7)")]
    Fragment,
    #[error("the application's datagram has an unknown address type")]
    AddressType,
    #[error("the application's datagram goes to no host and port")]
    Destination,
}

/// Splits a datagram of an application into where it goes and what it carries.
pub fn parse(datagram: &[u8]) -> Result<(Destination, &[u8]), HeaderError> {
    let ([_, _, fragment, kind], rest) = datagram.split_first_chunk::<4>().ok_or(HeaderError::Short)?;
    if *fragment != 0 {
        return Err(HeaderError::Fragment);
    }
    let (host, rest) = match kind {
        1 => address::<4>(rest)?,
        4 => address::<16>(rest)?,
        3 => {
            let (length, rest) = rest.split_first().ok_or(HeaderError::Short)?;
            let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(HeaderError::Short)?;
            let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            (name.ok_or(HeaderError::Destination)?, rest)
        }
        _ => return Err(HeaderError::AddressType),
    };
    let (port, payload) = rest.split_first_chunk::<2>().ok_or(HeaderError::Short)?;
    let port = u16::from_be_bytes(*port);
    if port == 0 {
        return Err(HeaderError::Destination);
    }
    Ok((Destination { host, port }, payload))
}

/// A datagram for an application, with where it comes from.
pub fn encode(from: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(22 + payload.len());
    datagram.extend([0, 0, 0]);
    match from.ip() {
        IpAddr::V4(ip) => {
            datagram.push(1);
            datagram.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            datagram.push(4);
            datagram.extend(ip.octets());
        }
    }
    datagram.extend(from.port().to_be_bytes());
    datagram.extend(payload);
    datagram
}

fn address<const N: usize>(bytes: &[u8]) -> Result<(Host, &[u8]), HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let (octets, rest) = bytes.split_first_chunk::<N>().ok_or(HeaderError::Short)?;
    Ok((Host::Ip(IpAddr::from(*octets)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        for from in ["192.0.2.1:53", "[2001:db8::1]:443"] {
            let from: SocketAddr = from.parse().unwrap();
            let datagram = encode(from, b"payload");
            let (destination, payload) = parse(&datagram).unwrap();
            assert!(destination == Destination { host: Host::Ip(from.ip()), port: from.port() });
            assert_eq!(payload, b"payload");
            for cut in 0..datagram.len() - b"payload".len() {
                assert_eq!(parse(&datagram[..cut]).err(), Some(HeaderError::Short), "{cut}");
            }
        }
    }

    #[test]
    fn names_fragments_and_nonsense() {
        let (destination, payload) = parse(b"\0\0\0\x03\x06a.test\x01\xbbx").unwrap();
        assert!(destination == Destination { host: "a.test".parse().unwrap(), port: 443 });
        assert_eq!(payload, b"x");
        for (datagram, error) in [
            (&b"\0\0\x01\x01\x7f\0\0\x01\0\x35x"[..], HeaderError::Fragment),
            (b"\0\0\0\x02\x7f\0\0\x01\0\x35x", HeaderError::AddressType),
            (b"\0\0\0\x01\x7f\0\0\x01\0\0x", HeaderError::Destination),
            (b"\0\0\0\x03\x02a b\x00\x35", HeaderError::Destination),
            (b"\0\0\0\x03\x00\x00\x35", HeaderError::Destination),
            (b"\0\0\0\x03\xffa", HeaderError::Short),
        ] {
            assert_eq!(parse(datagram).err(), Some(error), "{datagram:?}");
        }
    }
}
