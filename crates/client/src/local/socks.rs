//! SOCKS 4, 4a and 5 messages of the server's side: pure functions from bytes to requests and from outcomes to
//! replies. No sockets: see `socks_session.rs`, and `udp` for datagrams. BIND is not offered.
//!
//! Source: RFC 1928, RFC 1929; the SOCKS4 and SOCKS4A memos.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::flow::{Destination, Host, OpenFailure, RefusalReason};

/// No valid message is longer; a longer one is refused without being kept.
pub const LONGEST_MESSAGE: usize = 1024;

/// The longest user ID (RFC-less SOCKS4 leaves it open) and the longest name.
const LONGEST_FIELD: usize = 255;

const VERSION_4: u8 = 4;
const VERSION_5: u8 = 5;
const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
/// RFC 1928 section 3.
const NO_AUTHENTICATION: u8 = 0;
const USERNAME_PASSWORD: u8 = 2;
/// RFC 1929 section 2.
const LOGIN_VERSION: u8 = 1;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;

/// What a connection starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// SOCKS 4 or 4a: the whole request.
    V4(Destination),
    /// SOCKS 5: the methods that the application offers.
    V5(Methods),
}

/// The methods of authentication that an application offers, of those that there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    none: bool,
    password: bool,
}

/// What a SOCKS 5 application asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Connect(Destination),
    /// UDP ASSOCIATE, with the address that the application will send from, as far as it knows.
    Associate(SocketAddr),
}

/// What an application says to be let in. RFC 1929.
#[derive(Clone, PartialEq, Eq, zeroize::ZeroizeOnDrop)]
pub struct Login {
    pub username: Vec<u8>,
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted login]")
    }
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    #[error("not a SOCKS request (it begins with byte {first})")]
    NotSocks { first: u8 },
    #[error("an HTTP request came to the SOCKS port")]
    Http,
    #[error("the application offers no way to log in that this proxy takes")]
    NoAcceptableMethod,
    #[error("SOCKS 4 knows no passwords, and this proxy wants one")]
    NoPassword,
    #[error("the username or the password is wrong")]
    WrongLogin,
    #[error("only CONNECT and UDP ASSOCIATE are supported")]
    Command { version: Version },
    #[error("unknown address type {kind}")]
    AddressType { kind: u8 },
    #[error("the destination is not a host and port")]
    Destination { version: Version },
    #[error("the message is too long")]
    TooLong { version: Version },
    #[error("the request has version {found}, its greeting had 5")]
    VersionChanged { found: u8 },
}

/// The protocol version that an answer has to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

/// How a request ends, in the terms of RFC 1928 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCode {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    TimedOut = 6,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

/// A parsed message and how many bytes it took; `None` when more bytes are needed.
pub type Parsed<T> = Result<Option<(usize, T)>, SocksError>;

/// Parses the first message of a connection.
pub fn parse_opening(bytes: &[u8]) -> Parsed<Opening> {
    match bytes.first() {
        None => Ok(None),
        Some(&VERSION_4) => Ok(parse_v4(bytes)?.map(|(used, destination)| (used, Opening::V4(destination)))),
        Some(&VERSION_5) => parse_methods(bytes),
        Some(letter) if letter.is_ascii_uppercase() => Err(SocksError::Http),
        Some(&first) => Err(SocksError::NotSocks { first }),
    }
}

/// Parses a SOCKS 5 request (RFC 1928 section 4).
pub fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    let mut cursor = Cursor { bytes, at: 0 };
    let Some(version) = cursor.byte() else { return Ok(None) };
    if version != VERSION_5 {
        return Err(SocksError::VersionChanged { found: version });
    }
    let (Some(command), Some(_reserved), Some(kind)) = (cursor.byte(), cursor.byte(), cursor.byte()) else {
        return Ok(None);
    };
    let host = match kind {
        1 => cursor.array::<4>().map(|octets| Ok(Host::Ip(IpAddr::V4(Ipv4Addr::from(octets))))),
        4 => cursor.array::<16>().map(|octets| Ok(Host::Ip(IpAddr::V6(Ipv6Addr::from(octets))))),
        3 => cursor
            .byte()
            .and_then(|length| cursor.take(usize::from(length)))
            .map(|name| host(name, Version::V5)),
        kind => return Err(SocksError::AddressType { kind }),
    };
    let (Some(host), Some(port)) = (host, cursor.array::<2>()) else { return Ok(None) };
    // The whole request is read first, so that the answer finds the application listening.
    let (host, port) = (host?, u16::from_be_bytes(port));
    let request = match command {
        CONNECT => Request::Connect(destination(host, port, Version::V5)?),
        UDP_ASSOCIATE => Request::Associate(match host {
            Host::Ip(ip) => SocketAddr::new(ip, port),
            Host::Name(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        }),
        _ => return Err(SocksError::Command { version: Version::V5 }),
    };
    Ok(Some((cursor.at, request)))
}

/// Parses a login (RFC 1929 section 2).
pub fn parse_login(bytes: &[u8]) -> Parsed<Login> {
    let mut cursor = Cursor { bytes, at: 0 };
    let Some(version) = cursor.byte() else { return Ok(None) };
    if version != LOGIN_VERSION {
        return Err(SocksError::VersionChanged { found: version });
    }
    let mut field = || cursor.byte().and_then(|length| cursor.take(usize::from(length))).map(<[u8]>::to_vec);
    let (Some(username), Some(password)) = (field(), field()) else { return Ok(None) };
    Ok(Some((cursor.at, Login { username, password })))
}

impl Methods {
    /// The answer that chooses what this proxy wants (RFC 1928 section 3).
    pub fn choose(self, password: bool) -> Result<[u8; 2], SocksError> {
        match (password, self) {
            (false, Self { none: true, .. }) => Ok([VERSION_5, NO_AUTHENTICATION]),
            // Whatever is said then is right: some applications have a login set for all their proxies.
            (_, Self { password: true, .. }) => Ok([VERSION_5, USERNAME_PASSWORD]),
            _ => Err(SocksError::NoAcceptableMethod),
        }
    }
}

/// Whether a choice means that a login follows.
pub fn login_follows(choice: [u8; 2]) -> bool {
    choice == [VERSION_5, USERNAME_PASSWORD]
}

/// The answer to a login that is right (RFC 1929 section 2).
pub const LOGGED_IN: [u8; 2] = [LOGIN_VERSION, 0];

/// The answer to UDP ASSOCIATE: where datagrams go (RFC 1928 section 6).
pub fn associated(at: SocketAddr) -> Vec<u8> {
    // A datagram's header has the same form but for its first three bytes.
    let mut reply = super::udp::header::encode(at, &[]);
    if let Some([version, ..]) = reply.first_chunk_mut::<1>() {
        *version = VERSION_5;
    }
    reply
}

/// The answer to a request.
pub fn reply(version: Version, code: ReplyCode) -> Vec<u8> {
    match version {
        // The bound address is of no use to anyone behind a tunnel: 0.0.0.0:0.
        Version::V5 => vec![VERSION_5, code as u8, 0, 1, 0, 0, 0, 0, 0, 0],
        Version::V4 => {
            let granted = if code == ReplyCode::Succeeded { 0x5a } else { 0x5b };
            vec![0, granted, 0, 0, 0, 0, 0, 0]
        }
    }
}

impl SocksError {
    /// The bytes to answer with before closing; empty for what speaks no SOCKS at all.
    pub fn answer(&self) -> Vec<u8> {
        match *self {
            Self::NotSocks { .. } => Vec::new(),
            Self::Http => {
                b"HTTP/1.0 501 Not Implemented\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                This is a SOCKS proxy. Set it as the SOCKS proxy, not as the HTTP proxy.\r\n"
                    .to_vec()
            }
            Self::NoAcceptableMethod => vec![VERSION_5, NO_ACCEPTABLE_METHOD],
            Self::NoPassword => reply(Version::V4, ReplyCode::NotAllowed),
            Self::WrongLogin => vec![LOGIN_VERSION, 1],
            Self::Command { version } => reply(version, ReplyCode::CommandNotSupported),
            Self::AddressType { .. } => reply(Version::V5, ReplyCode::AddressTypeNotSupported),
            Self::Destination { version } | Self::TooLong { version } => {
                reply(version, ReplyCode::GeneralFailure)
            }
            Self::VersionChanged { .. } => reply(Version::V5, ReplyCode::GeneralFailure),
        }
    }
}

impl From<&OpenFailure> for ReplyCode {
    fn from(failure: &OpenFailure) -> Self {
        match failure {
            OpenFailure::Refused { reason, .. } => Self::from(*reason),
            OpenFailure::TimedOut { .. } => Self::TimedOut,
            OpenFailure::NoTunnel { .. }
            | OpenFailure::TunnelLost
            | OpenFailure::TooManyFlows
            | OpenFailure::Stopping => Self::GeneralFailure,
        }
    }
}

impl From<RefusalReason> for ReplyCode {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::Rules => Self::NotAllowed,
            RefusalReason::HostUnreachable | RefusalReason::NameNotFound => Self::HostUnreachable,
            RefusalReason::NetworkUnreachable => Self::NetworkUnreachable,
            // The reference answers every refusal by its server with this code.
            RefusalReason::ConnectionRefused | RefusalReason::Opaque(_) => Self::ConnectionRefused,
            RefusalReason::TimedOut => Self::TimedOut,
        }
    }
}

/// SOCKS 4: version, command, port, address, user ID up to a zero byte; 4a: then a name up to a zero byte when the
/// address is 0.0.0.x.
fn parse_v4(bytes: &[u8]) -> Parsed<Destination> {
    let mut cursor = Cursor { bytes, at: 1 };
    let (Some(command), Some(port), Some(octets)) = (cursor.byte(), cursor.array::<2>(), cursor.array::<4>())
    else {
        return Ok(None);
    };
    if cursor.until_zero()?.is_none() {
        return Ok(None);
    }
    let host = match octets {
        [0, 0, 0, last] if last != 0 => match cursor.until_zero()? {
            Some(name) => host(name, Version::V4),
            None => return Ok(None),
        },
        octets => Ok(Host::Ip(IpAddr::V4(Ipv4Addr::from(octets)))),
    };
    if command != CONNECT {
        return Err(SocksError::Command { version: Version::V4 });
    }
    let destination = destination(host?, u16::from_be_bytes(port), Version::V4)?;
    Ok(Some((cursor.at, destination)))
}

/// RFC 1928 section 3: version, number of methods, methods.
fn parse_methods(bytes: &[u8]) -> Parsed<Opening> {
    let mut cursor = Cursor { bytes, at: 1 };
    let methods = cursor.byte().and_then(|count| cursor.take(usize::from(count)));
    match methods {
        None => Ok(None),
        Some(offered) => {
            let methods = Methods {
                none: offered.contains(&NO_AUTHENTICATION),
                password: offered.contains(&USERNAME_PASSWORD),
            };
            Ok(Some((cursor.at, Opening::V5(methods))))
        }
    }
}

fn host(name: &[u8], version: Version) -> Result<Host, SocksError> {
    let text = std::str::from_utf8(name).ok();
    text.and_then(|text| text.parse().ok()).ok_or(SocksError::Destination { version })
}

fn destination(host: Host, port: u16, version: Version) -> Result<Destination, SocksError> {
    if port == 0 {
        return Err(SocksError::Destination { version });
    }
    Ok(Destination { host, port })
}

/// Reads a message from the front; `None` at its end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// The bytes before the next zero byte, which is skipped; `None` when it has not come yet.
    fn until_zero(&mut self) -> Result<Option<&'a [u8]>, SocksError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().take(LONGEST_FIELD + 1).position(|byte| *byte == 0) {
            Some(length) => {
                self.at += length + 1;
                Ok(rest.get(..length))
            }
            None if rest.len() > LONGEST_FIELD => Err(SocksError::TooLong { version: Version::V4 }),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_request(name: &[u8], port: u16) -> Vec<u8> {
        let mut bytes = vec![5, 1, 0, 3, u8::try_from(name.len()).unwrap()];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    }

    fn to(host: &str, port: u16) -> Destination {
        Destination { host: host.parse().unwrap(), port }
    }

    #[test]
    fn every_valid_form_is_understood_byte_by_byte() {
        let openings: [(&[u8], Opening); 5] = [
            (&[5, 1, 0], Opening::V5(Methods { none: true, password: false })),
            (&[5, 3, 1, 2, 0], Opening::V5(Methods { none: true, password: true })),
            (&[4, 1, 0, 80, 192, 0, 2, 1, 0], Opening::V4(to("192.0.2.1", 80))),
            (b"\x04\x01\x01\xbb\xc0\x00\x02\x01user\0", Opening::V4(to("192.0.2.1", 443))),
            (b"\x04\x01\x00\x50\0\0\0\x01me\0example.org\0", Opening::V4(to("example.org", 80))),
        ];
        for (bytes, expected) in openings {
            for cut in 0..bytes.len() {
                assert_eq!(parse_opening(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
            let mut more = bytes.to_vec();
            more.push(77);
            assert_eq!(parse_opening(&more), Ok(Some((bytes.len(), expected))));
        }
        let requests = [
            (vec![5, 1, 0, 1, 192, 0, 2, 1, 0, 80], to("192.0.2.1", 80)),
            (name_request(b"example.org", 443), to("example.org", 443)),
            (name_request(b"192.0.2.9", 443), to("192.0.2.9", 443)),
            (name_request(b"::1", 1), to("::1", 1)),
            ([&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat(), to("::1", 80)),
        ];
        for (bytes, expected) in requests {
            for cut in 0..bytes.len() {
                assert_eq!(parse_request(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
            assert_eq!(parse_request(&bytes), Ok(Some((bytes.len(), Request::Connect(expected)))));
        }
    }

    #[test]
    fn every_wrong_opening_has_its_answer() {
        let no_end = [&b"\x04\x01\x00\x50\0\0\0\x01"[..], &[b'x'; 300]].concat();
        let openings: [(&[u8], SocksError, &[u8]); 6] = [
            (&[0], SocksError::NotSocks { first: 0 }, &[]),
            (&[22, 3, 1], SocksError::NotSocks { first: 22 }, &[]),
            (
                &[4, 2, 0, 80, 1, 2, 3, 4, 0],
                SocksError::Command { version: Version::V4 },
                &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            ),
            (
                &[4, 1, 0, 0, 1, 2, 3, 4, 0],
                SocksError::Destination { version: Version::V4 },
                &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            ),
            (
                b"\x04\x01\x00\x50\0\0\0\x01\0a b\0",
                SocksError::Destination { version: Version::V4 },
                &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            ),
            (&no_end, SocksError::TooLong { version: Version::V4 }, &[0, 0x5b, 0, 0, 0, 0, 0, 0]),
        ];
        for (bytes, error, answer) in openings {
            assert_eq!(parse_opening(bytes), Err(error), "{bytes:?}");
            assert_eq!(error.answer(), answer);
        }
        assert_eq!(parse_opening(b"GET / HTTP/1.1\r\n"), Err(SocksError::Http));
        assert!(SocksError::Http.answer().starts_with(b"HTTP/1.0 501 "));
    }

    #[test]
    fn every_wrong_request_has_its_answer() {
        for (bytes, code) in [
            (vec![5, 2, 0, 1, 1, 2, 3, 4, 0, 80], 7),
            (vec![5, 1, 0, 2], 8),
            (vec![4], 1),
            (name_request(b"", 80), 1),
            (name_request(b"a b", 80), 1),
            (name_request(b"\xff\xfe", 80), 1),
            (name_request(b"example.org", 0), 1),
        ] {
            let answer = parse_request(&bytes).unwrap_err().answer();
            assert_eq!(answer, [5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{bytes:?}");
        }
    }

    #[test]
    fn failures_become_codes() {
        let refused = |reason| OpenFailure::Refused { reason, detail: None };
        for (failure, code) in [
            (OpenFailure::NoTunnel { waited: std::time::Duration::from_secs(15) }, 1),
            (OpenFailure::TunnelLost, 1),
            (OpenFailure::TimedOut { after: std::time::Duration::from_secs(1) }, 6),
            (refused(RefusalReason::Rules), 2),
            (refused(RefusalReason::NetworkUnreachable), 3),
            (refused(RefusalReason::HostUnreachable), 4),
            (refused(RefusalReason::NameNotFound), 4),
            (refused(RefusalReason::ConnectionRefused), 5),
            (refused(RefusalReason::Opaque(1)), 5),
            (refused(RefusalReason::TimedOut), 6),
        ] {
            assert_eq!(ReplyCode::from(&failure) as u8, code, "{failure:?}");
        }
    }

    #[test]
    fn no_valid_message_exceeds_the_bound() {
        let longest = [&[4, 1, 0, 80, 0, 0, 0, 1][..], &[b'u'; 255], &[0], &[b'n'; 255], &[0]].concat();
        assert!(matches!(parse_opening(&longest), Ok(Some((used, _))) if used < LONGEST_MESSAGE));
        assert!(matches!(parse_opening(&[5; 257]), Ok(Some((7, _)))));
        let login = [&[1, 255][..], &[b'u'; 255], &[255], &[b'p'; 255]].concat();
        assert!(matches!(parse_login(&login), Ok(Some((used, _))) if used == login.len()));
    }

    #[test]
    fn methods_are_chosen_by_need() {
        let (none, password) =
            (Methods { none: true, password: false }, Methods { none: false, password: true });
        let (both, neither) =
            (Methods { none: true, password: true }, Methods { none: false, password: false });
        for (offered, wanted, choice) in [
            (none, false, Some([5, 0])),
            (both, false, Some([5, 0])),
            (password, false, Some([5, 2])),
            (neither, false, None),
            (none, true, None),
            (both, true, Some([5, 2])),
            (password, true, Some([5, 2])),
        ] {
            assert_eq!(offered.choose(wanted).ok(), choice, "{offered:?} {wanted}");
        }
        assert_eq!(SocksError::NoAcceptableMethod.answer(), [5, 0xff]);
    }

    #[test]
    fn logins_and_associations() {
        let login = Login { username: b"me".to_vec(), password: b"".to_vec() };
        assert_eq!(parse_login(b"\x01\x02me\x00x"), Ok(Some((5, login))));
        for cut in 0..5 {
            assert_eq!(parse_login(&b"\x01\x02me\x00"[..cut]), Ok(None));
        }
        assert_eq!(parse_login(b"\x05"), Err(SocksError::VersionChanged { found: 5 }));
        let claimed = "0.0.0.0:0".parse().unwrap();
        let request = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_request(&request), Ok(Some((10, Request::Associate(claimed)))));
        assert_eq!(associated("127.0.0.1:258".parse().unwrap()), [5, 0, 0, 1, 127, 0, 0, 1, 1, 2]);
    }
}
