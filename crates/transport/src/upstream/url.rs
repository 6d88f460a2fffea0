//! The URL of a proxy: scheme, login, host and port, and nothing else. Source: RFC 3986, TRANSPORTS.md 6.4.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use culvert_protocol::json_position::near_name;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::Endpoint;

/// Longest user name and password in SOCKS5. RFC 1929 section 2.
const LONGEST_SOCKS_TEXT: usize = 255;
/// Longest URL.
const LONGEST: usize = 4096;
/// Longest host name. RFC 1035 section 2.3.4.
const LONGEST_HOST: usize = 253;

/// What is spoken to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP CONNECT.
    Http,
    /// SOCKS4 with host names.
    Socks4a,
    /// SOCKS5.
    Socks5,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Http, Self::Socks4a, Self::Socks5];

    /// Its name in URLs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
        }
    }
}

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Not empty. For NTLM `domain\user`, or the user alone.
    pub user: Zeroizing<String>,
    /// May be empty.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted login]")
    }
}

/// Where a proxy is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// Where.
    pub endpoint: Endpoint,
    /// The login, if there is one.
    pub credentials: Option<Credentials>,
}

/// A part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlPart {
    /// Before `://`.
    Scheme,
    /// Before `@`.
    Login,
    /// The name or address.
    Host,
    /// Behind the colon.
    Port,
    /// Whatever follows.
    Rest,
}

impl fmt::Display for UrlPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the scheme",
            Self::Login => "the user name or password",
            Self::Host => "the host",
            Self::Port => "the port",
            Self::Rest => "what follows the port",
        })
    }
}

/// A URL that is none of a proxy. Holds nothing of the URL but a scheme, because the rest may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{part}, at character {at}: {fault}")]
pub struct ProxyUrlError {
    /// Which part.
    pub part: UrlPart,
    /// The character where it begins, or where it is wrong, counted from 1.
    pub at: usize,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Fault {
    #[error("there is none; write http://host:port, socks4a://host:port or socks5://host:port")]
    NoScheme,
    #[error("{found:?} is not one of http, socks4a, socks5{}", near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    UnknownScheme { found: String, near: Option<&'static str> },
    #[error("% must be followed by two hex digits")]
    Escape,
    #[error("not UTF-8 once % is decoded")]
    NotText,
    #[error("a password without a user name")]
    NoUser,
    #[error("too long, or with a zero byte, for {0}")]
    UnfitLogin(&'static str),
    #[error("{0} has no passwords; remove it")]
    NoPasswords(&'static str),
    #[error("missing")]
    Missing,
    #[error("not a host name or address; an IPv6 address stands in square brackets")]
    Host,
    #[error("missing; write {0} behind the host")]
    NoPort(&'static str),
    #[error("expected a number from 1 to 65535")]
    Port,
    #[error("a proxy's URL ends with its port")]
    Rest,
    #[error("longer than {LONGEST} bytes")]
    TooLong,
}

/// A piece of the URL that knows where it stands.
#[derive(Clone, Copy)]
struct Placed<'u> {
    text: &'u str,
    at: usize,
}

impl<'u> Placed<'u> {
    fn error(self, part: UrlPart, fault: Fault) -> ProxyUrlError {
        ProxyUrlError { part, at: self.at, fault }
    }

    /// The two sides of a separator, which is left out.
    fn split(self, at: usize, separator: usize) -> (Self, Self) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let behind = self.text.get(at + separator..).unwrap_or_default();
        let place = self.at + before.chars().count() + separator;
        (Self { text: before, at: self.at }, Self { text: behind, at: place })
    }

    /// Decodes %.
    fn decoded(self, part: UrlPart) -> Result<Zeroizing<String>, ProxyUrlError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.text.len()));
        let mut rest = self.text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let pair = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            bytes.push(pair.ok_or_else(|| self.error(part, Fault::Escape))?);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| self.error(part, Fault::NotText))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl ProxyUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// It names no proxy that can be used; the error says which part is wrong and where it stands.
    pub fn parse(url: &str) -> Result<Self, ProxyUrlError> {
        let whole = Placed { text: url, at: 1 };
        if url.len() > LONGEST {
            return Err(whole.error(UrlPart::Rest, Fault::TooLong));
        }
        let Some(at) = url.find("://") else { return Err(whole.error(UrlPart::Scheme, Fault::NoScheme)) };
        let (scheme, rest) = whole.split(at, 3);
        let scheme = parse_scheme(scheme)?;
        let end = rest.text.find(['/', '?', '#']).unwrap_or(rest.text.len());
        let (authority, _) = rest.split(end, 0);
        let behind = rest.text.get(end..).unwrap_or_default();
        // As the reference's library has it: a password may hold an @.
        let (login, host) = match authority.text.rfind('@') {
            Some(at) => {
                let (login, host) = authority.split(at, 1);
                (Some(login), host)
            }
            None => (None, authority),
        };
        let endpoint = parse_host(host, scheme)?;
        if !matches!(behind, "" | "/") {
            let at = authority.at + authority.text.chars().count();
            return Err(ProxyUrlError { part: UrlPart::Rest, at, fault: Fault::Rest });
        }
        let credentials = login.map(|login| parse_login(login, scheme)).transpose()?.flatten();
        Ok(Self { scheme, endpoint, credentials })
    }
}

fn parse_scheme(scheme: Placed<'_>) -> Result<Scheme, ProxyUrlError> {
    let known = Scheme::ALL.into_iter().find(|known| scheme.text.eq_ignore_ascii_case(known.name()));
    known.ok_or_else(|| {
        if scheme.text.is_empty() {
            return scheme.error(UrlPart::Scheme, Fault::NoScheme);
        }
        let found = scheme.text.chars().take(32).collect();
        // Names that other programs use.
        let near = match scheme.text {
            "socks" | "socks5h" => Some("socks5"),
            "socks4" => Some("socks4a"),
            text => near_name(text, Scheme::ALL.map(Scheme::name)),
        };
        scheme.error(UrlPart::Scheme, Fault::UnknownScheme { found, near })
    })
}

fn parse_login(login: Placed<'_>, scheme: Scheme) -> Result<Option<Credentials>, ProxyUrlError> {
    let (user, password) = match login.text.find(':') {
        Some(at) => login.split(at, 1),
        None => (login, Placed { text: "", at: login.at }),
    };
    let credentials =
        Credentials { user: user.decoded(UrlPart::Login)?, password: password.decoded(UrlPart::Login)? };
    if credentials.user.is_empty() {
        let nothing = credentials.password.is_empty();
        return if nothing { Ok(None) } else { Err(login.error(UrlPart::Login, Fault::NoUser)) };
    }
    let fault = match scheme {
        Scheme::Http => None,
        Scheme::Socks4a if !credentials.password.is_empty() => {
            Some((password, Fault::NoPasswords(scheme.name())))
        }
        Scheme::Socks4a => {
            let unfit = credentials.user.len() > LONGEST_SOCKS_TEXT || credentials.user.contains('\0');
            unfit.then_some((user, Fault::UnfitLogin(scheme.name())))
        }
        Scheme::Socks5 if credentials.user.len() > LONGEST_SOCKS_TEXT => {
            Some((user, Fault::UnfitLogin(scheme.name())))
        }
        Scheme::Socks5 => (credentials.password.len() > LONGEST_SOCKS_TEXT)
            .then_some((password, Fault::UnfitLogin(scheme.name()))),
    };
    match fault {
        Some((place, fault)) => Err(place.error(UrlPart::Login, fault)),
        None => Ok(Some(credentials)),
    }
}

fn parse_host(authority: Placed<'_>, scheme: Scheme) -> Result<Endpoint, ProxyUrlError> {
    let usual = match scheme {
        Scheme::Http => "a port such as :8080",
        Scheme::Socks4a | Scheme::Socks5 => "a port such as :1080",
    };
    // What stands in brackets has colons of its own.
    let search = authority.text.rfind(']').unwrap_or(0);
    let tail = authority.text.get(search..).unwrap_or_default();
    let (host, port) = match tail.find(':') {
        Some(at) => authority.split(search + at, 1),
        None => {
            let place = Placed { text: "", at: authority.at + authority.text.chars().count() };
            (authority, place)
        }
    };
    let endpoint = |port| -> Option<Endpoint> {
        if let Some(inner) = host.text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().ok()?;
            return Some(Endpoint::Address(SocketAddr::new(address.into(), port)));
        }
        if let Ok(address) = host.text.parse::<IpAddr>() {
            return address.is_ipv4().then_some(Endpoint::Address(SocketAddr::new(address, port)));
        }
        is_host_name(host.text).then(|| Endpoint::Name(host.text.to_owned(), port))
    };
    if host.text.is_empty() {
        return Err(host.error(UrlPart::Host, Fault::Missing));
    }
    let parsed = endpoint(0).ok_or_else(|| host.error(UrlPart::Host, Fault::Host))?;
    if port.text.is_empty() {
        return Err(port.error(UrlPart::Port, Fault::NoPort(usual)));
    }
    let number = port.text.parse::<u16>().ok().filter(|number| *number > 0);
    let digits = port.text.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.filter(|_| digits).ok_or_else(|| port.error(UrlPart::Port, Fault::Port))?;
    Ok(match parsed {
        Endpoint::Address(address) => Endpoint::Address(SocketAddr::new(address.ip(), number)),
        Endpoint::Name(name, _) => Endpoint::Name(name, number),
    })
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    // What looks like a number is a mistyped address.
    let numeric = labels.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.len() <= LONGEST_HOST && labels.split('.').all(label) && !numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str) -> String {
        ProxyUrl::parse(url).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn urls_that_name_a_proxy_are_read() {
        let url = ProxyUrl::parse("http://DOM%5Cuser:p%40ss@proxy.example:8080/").unwrap();
        let login = url.credentials.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("DOM\\user", "p@ss"));
        assert!(url.endpoint == Endpoint::Name("proxy.example".into(), 8080));
        let url = ProxyUrl::parse("SOCKS5://[::1]:1080").unwrap();
        assert_eq!((url.scheme, url.credentials), (Scheme::Socks5, None));
        assert!(url.endpoint == Endpoint::Address("[::1]:1080".parse().unwrap()));
        let url = ProxyUrl::parse("socks4a://me@127.0.0.1:1").unwrap();
        assert_eq!(url.credentials.unwrap().user.as_str(), "me");
        assert_eq!(
            ProxyUrl::parse("http://a:b@c@d:1").unwrap().credentials.unwrap().password.as_str(),
            "b@c"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            ("proxy:8080", "the scheme, at character 1: there is none; write http://"),
            (
                "htp://a:1",
                "the scheme, at character 1: \"htp\" is not one of http, socks4a, socks5 (did you mean http?)",
            ),
            ("socks5h://a:1", "(did you mean socks5?)"),
            ("socks4://a:1", "(did you mean socks4a?)"),
            ("http://a", "the port, at character 9: missing; write a port such as :8080"),
            ("http://a:", "the port, at character 10: missing"),
            ("http://a:99999", "the port, at character 10: expected a number from 1 to 65535"),
            ("http://a:+80", "the port, at character 10: expected"),
            ("http://:1", "the host, at character 8: missing"),
            ("http://::1:1", "the host, at character 8:"),
            ("http://1.2.3:1", "the host, at character 8: not a host name or address"),
            ("http://a b:1", "the host, at character 8: not a host name"),
            (
                "http://u:%zz@a:1",
                "the user name or password, at character 10: % must be followed by two hex digits",
            ),
            ("http://:p@a:1", "the user name or password, at character 8: a password without a user name"),
            ("socks4a://u:p@a:1", "the user name or password, at character 13: socks4a has no passwords"),
            ("http://a:1/path", "what follows the port, at character 11: a proxy's URL ends with its port"),
        ];
        for (url, expected) in cases {
            assert!(said(url).contains(expected), "{url}: {}", said(url));
        }
        let long = format!("socks5://{}:p@a:1", "u".repeat(256));
        assert!(said(&long).contains("too long"), "{}", said(&long));
    }
}
