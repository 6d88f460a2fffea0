//! Where a client asks a flow to go: an address or a host name, with a port. Says which names are names; does not
//! resolve them. Sources: RFC 4254 section 7.2, RFC 1123 section 2.1, RFC 6762 section 3 (`.local`), PROTOCOL.md 3.7.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest host name that is looked up, in bytes (PROTOCOL.md 3.7).
const MAX_NAME: usize = 255;
/// RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// A destination as a client named it. Debug and Display do not show it: destinations stay out of logs.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    Address(SocketAddr),
    Name { name: HostName, port: u16 },
}

/// A syntactically valid host name in lower case without a final dot, which is not local to any link and cannot be
/// read as an address.
#[derive(Clone, PartialEq, Eq)]
pub struct HostName(String);

/// Why a text is no destination. All of these are the client's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("port is not between 1 and 65535")]
    Port,
    #[error(
        "host name is empty or longer than {MAX_NAME} bytes, or holds characters that host names do not have"
    )]
    NameSyntax,
    #[error("host name ends in a number, so it is an unusual spelling of an address")]
    NumericName,
    #[error("host names under .local belong to the local link")]
    LocalName,
}

impl Destination {
    /// Reads the host and port of a channel open.
    pub fn parse(host: &str, port: u32) -> Result<Self, DestinationError> {
        let port = u16::try_from(port).ok().filter(|port| *port != 0).ok_or(DestinationError::Port)?;
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Address(SocketAddr::new(address.to_canonical(), port))),
            Err(_) => Ok(Self::Name { name: HostName::parse(host)?, port }),
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Address(_) => None,
            Self::Name { name, .. } => Some(name),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }
}

impl HostName {
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels_fit = name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= MAX_LABEL
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
        if text.len() > MAX_NAME || !labels_fit {
            return Err(DestinationError::NameSyntax);
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        // `2130706433`, `0x7f.1` and `127.1` are addresses to inet_aton(3) and so to some resolvers.
        let hexadecimal =
            last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DestinationError::NumericName);
        }
        if last == "local" {
            return Err(DestinationError::LocalName);
        }
        Ok(Self(name))
    }

    /// The name for a resolver. Not for logs above debug level.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destination([redacted])")
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostName([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = format!("{}.example", "a".repeat(64));
        let longest = format!("{}example", "a.".repeat(124));
        let too_long = format!("a{longest}");
        for (text, expected) in [
            ("example.com", Ok("example.com")),
            ("EXAMPLE.Com.", Ok("example.com")),
            ("_dmarc.xn--bcher-kva.example", Ok("_dmarc.xn--bcher-kva.example")),
            ("localhost", Ok("localhost")),
            ("1and1.com", Ok("1and1.com")),
            (&longest, Ok(longest.as_str())),
            (&too_long, Err(DestinationError::NameSyntax)),
            (&long, Err(DestinationError::NameSyntax)),
            ("", Err(DestinationError::NameSyntax)),
            (".", Err(DestinationError::NameSyntax)),
            ("a..b", Err(DestinationError::NameSyntax)),
            ("example.com..", Err(DestinationError::NameSyntax)),
            ("b\u{fc}cher.example", Err(DestinationError::NameSyntax)),
            ("a b", Err(DestinationError::NameSyntax)),
            ("a\0.example", Err(DestinationError::NameSyntax)),
            ("[::1]", Err(DestinationError::NameSyntax)),
            ("fe80::1%eth0", Err(DestinationError::NameSyntax)),
            ("printer.local", Err(DestinationError::LocalName)),
            ("Printer.LOCAL.", Err(DestinationError::LocalName)),
            ("local", Err(DestinationError::LocalName)),
            ("2130706433", Err(DestinationError::NumericName)),
            ("0x7f.1", Err(DestinationError::NumericName)),
            ("0x7f000001", Err(DestinationError::NumericName)),
            ("0x", Err(DestinationError::NumericName)),
            ("127.1", Err(DestinationError::NumericName)),
            ("0177.0.0.1", Err(DestinationError::NumericName)),
            ("1.2.3.4.5", Err(DestinationError::NumericName)),
        ] {
            let found = HostName::parse(text);
            assert_eq!(found.as_ref().map(HostName::as_str), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn ports_and_literals() {
        assert_eq!(Destination::parse("example.com", 0), Err(DestinationError::Port));
        assert_eq!(Destination::parse("example.com", 65536), Err(DestinationError::Port));
        assert_eq!(
            Destination::parse("::ffff:192.0.2.1", 80),
            Ok(Destination::Address("192.0.2.1:80".parse().unwrap())),
            "mapped addresses are the IPv4 address"
        );
        assert_eq!(Destination::parse("example.com", 443).unwrap().port(), 443);
        assert!(!format!("{:?}", Destination::parse("example.com", 443)).contains("example"));
    }
}
