//! The client's side of SOCKS4a and SOCKS5. Source: RFC 1928, RFC 1929, TRANSPORTS.md 6.4.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf as _, BytesMut};

use super::{BadReply, Refusal, Step};
use crate::Endpoint;
use crate::upstream::{Credentials, UpstreamError};

const CONNECT: u8 = 1;
/// RFC 1928 section 3.
const NO_LOGIN: u8 = 0;
const WITH_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const SOCKS4_GRANTED: u8 = 0x5A;
/// A SOCKS4 server that cannot ask who we are, or was told somebody else.
const SOCKS4_IDENTITY: [u8; 2] = [0x5C, 0x5D];
/// Length of a SOCKS4 reply.
const SOCKS4_REPLY: usize = 8;

/// A handshake of SOCKS4a: one question, one answer.
pub(super) struct Socks4 {
    request: Option<Vec<u8>>,
}

impl Socks4 {
    pub(super) fn new(target: &Endpoint, credentials: Option<&Credentials>) -> Result<Self, UpstreamError> {
        let (port, address, name) = match target {
            Endpoint::Address(SocketAddr::V4(address)) => (address.port(), address.ip().octets(), None),
            Endpoint::Address(SocketAddr::V6(_)) => return Err(UpstreamError::NoIpv6),
            // An address that is none says that a name follows.
            Endpoint::Name(name, port) => (*port, [0, 0, 0, 1], Some(fit_name(name)?)),
        };
        let mut request = vec![4, CONNECT];
        request.extend(port.to_be_bytes());
        request.extend(address);
        request.extend(credentials.map_or("", |login| login.user.as_str()).bytes());
        request.push(0);
        if let Some(name) = name {
            request.extend(name.bytes());
            request.push(0);
        }
        Ok(Self { request: Some(request) })
    }

    pub(super) fn step(&mut self, received: &mut BytesMut) -> Result<Step, UpstreamError> {
        if let Some(request) = self.request.take() {
            return Ok(Step::Write(request));
        }
        match received.first_chunk::<SOCKS4_REPLY>() {
            _ if received.first().is_some_and(|version| *version != 0) => Err(BadReply::Socks4.into()),
            None => Ok(Step::Read),
            Some([_, SOCKS4_GRANTED, ..]) => {
                received.advance(SOCKS4_REPLY);
                Ok(Step::Connected)
            }
            Some([_, code, ..]) if SOCKS4_IDENTITY.contains(code) => Err(UpstreamError::LoginRefused),
            Some([_, code, ..]) => Err(Refusal::Socks4(*code).into()),
        }
    }
}

/// A handshake of SOCKS5.
pub(super) struct Socks5 {
    request: Vec<u8>,
    credentials: Option<Credentials>,
    waits_for: Wait,
}

enum Wait {
    Nothing,
    Method,
    Login,
    Reply,
}

impl Socks5 {
    pub(super) fn new(target: &Endpoint, credentials: Option<Credentials>) -> Result<Self, UpstreamError> {
        // RFC 1928 section 4.
        let mut request = vec![5, CONNECT, 0];
        let port = match target {
            Endpoint::Address(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => request.extend([&[1], &ip.octets()[..]].concat()),
                    IpAddr::V6(ip) => request.extend([&[4], &ip.octets()[..]].concat()),
                }
                address.port()
            }
            Endpoint::Name(name, port) => {
                let name = fit_name(name)?;
                request.extend([3, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
                request.extend(name.bytes());
                *port
            }
        };
        request.extend(port.to_be_bytes());
        Ok(Self { request, credentials, waits_for: Wait::Nothing })
    }

    pub(super) fn step(&mut self, received: &mut BytesMut) -> Result<Step, UpstreamError> {
        match self.waits_for {
            Wait::Nothing => {
                self.waits_for = Wait::Method;
                Ok(Step::Write(match self.credentials {
                    Some(_) => vec![5, 2, NO_LOGIN, WITH_PASSWORD],
                    None => vec![5, 1, NO_LOGIN],
                }))
            }
            Wait::Method => self.method(received),
            Wait::Login => match received.first_chunk::<2>() {
                None => Ok(Step::Read),
                // RFC 1929 section 2. Some answer with SOCKS's own version.
                Some([1 | 5, 0]) => {
                    received.advance(2);
                    Ok(self.ask())
                }
                Some([1 | 5, _]) => Err(UpstreamError::LoginRefused),
                Some(_) => Err(BadReply::Socks5.into()),
            },
            Wait::Reply => reply(received),
        }
    }

    fn method(&mut self, received: &mut BytesMut) -> Result<Step, UpstreamError> {
        let Some([version, method]) = received.first_chunk::<2>().copied() else { return Ok(Step::Read) };
        if version != 5 {
            return Err(BadReply::Socks5.into());
        }
        received.advance(2);
        match (method, &self.credentials) {
            (NO_LOGIN, _) => Ok(self.ask()),
            (WITH_PASSWORD, Some(login)) => {
                self.waits_for = Wait::Login;
                // The URL was refused if they are longer.
                let piece = |text: &str| {
                    let text = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
                    [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat()
                };
                Ok(Step::Write([vec![1], piece(&login.user), piece(&login.password)].concat()))
            }
            (NO_METHOD, Some(_)) => {
                Err(UpstreamError::LoginUnsupported { wanted: "none of ours".to_owned() })
            }
            (NO_METHOD, None) => Err(UpstreamError::LoginWanted),
            _ => Err(BadReply::Socks5.into()),
        }
    }

    fn ask(&mut self) -> Step {
        self.waits_for = Wait::Reply;
        Step::Write(std::mem::take(&mut self.request))
    }
}

/// RFC 1928 section 6.
fn reply(received: &mut BytesMut) -> Result<Step, UpstreamError> {
    let Some([version, code, _, kind, first]) = received.first_chunk::<5>().copied() else {
        let is_other = received.first().is_some_and(|version| *version != 5);
        return if is_other { Err(BadReply::Socks5.into()) } else { Ok(Step::Read) };
    };
    if version != 5 {
        return Err(BadReply::Socks5.into());
    }
    if code != 0 {
        return Err(Refusal::Socks5(code).into());
    }
    let len = match kind {
        1 => 4 + 6,
        3 => 4 + 1 + usize::from(first) + 2,
        4 => 4 + 18,
        _ => return Err(BadReply::Socks5.into()),
    };
    if received.len() < len {
        return Ok(Step::Read);
    }
    received.advance(len);
    Ok(Step::Connected)
}

/// What a refusal means.
pub(super) const fn words(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "forbidden by the proxy's rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "kind of address not supported",
        _ => "a code that no standard knows",
    }
}

/// A name that the protocols can carry.
fn fit_name(name: &str) -> Result<&str, UpstreamError> {
    let fits = (1..=255).contains(&name.len()) && !name.bytes().any(|byte| byte == 0);
    if fits { Ok(name) } else { Err(Refusal::Socks5(8).into()) }
}
