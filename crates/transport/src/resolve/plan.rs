//! How names of one dial are to be resolved: plain data, settled before any I/O and kept with the rest of a dial plan.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes that something is drawn from.
type SeedBytes = [u8; 32];

/// How names are resolved. The default asks the system, twice, and looks at its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolvePlan {
    /// Times that a server is asked.
    pub attempts: u32,
    /// The same for an alternate server that goes first.
    pub preferred_attempts: u32,
    /// Time until the next attempt. Earlier ones stay: a late answer is as good.
    pub request_timeout: Duration,
    /// Time for the answer of the other family once one is there.
    pub await_timeout: Duration,
    /// No question is asked for this name.
    pub preresolved: Option<Preresolved>,
    /// A server other than the system's.
    pub alternate: Option<DnsServer>,
    /// Who is asked before the other.
    pub first: First,
    /// What is done to the first question, over UDP.
    pub transform: Option<QueryTransform>,
    /// What the letter case of the first question is drawn from.
    pub casing: Option<SeedBytes>,
    /// Answers to the first question must repeat its name, letter case included.
    pub name_must_match: bool,
    /// Whether questions have an EDNS option.
    pub edns0: bool,
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// The system's resolver.
    System,
    /// The alternate server.
    Alternate,
}

/// An address that was found without a question.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preresolved {
    /// Of this name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

/// How a question is rewritten: its lower-case hexadecimal, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryTransform {
    /// Its name, for reports.
    pub name: String,
    /// What is matched, and what is generated instead.
    pub steps: Vec<[String; 2]>,
    /// What it generates from.
    pub seed: SeedBytes,
}

/// A server of names. In settings: `1.2.3.4`, `1.2.3.4:53`, `tls://name@1.2.3.4`, `https://name@1.2.3.4/dns-query`; the address is where the server
/// is, so that no name is needed to find it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DnsServer {
    /// Plain DNS.
    Udp(SocketAddr),
    /// RFC 7858.
    Tls {
        /// Where it is.
        address: SocketAddr,
        /// What its certificate says.
        name: String,
    },
    /// RFC 8484.
    Https {
        /// Where it is.
        address: SocketAddr,
        /// What its certificate says.
        name: String,
        /// Begins with a slash.
        path: String,
    },
}

/// Not a server of names. The settings are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected the address of a DNS server: 1.2.3.4, 1.2.3.4:53, [2001:db8::1]:53, tls://name@1.2.3.4 or https://name@1.2.3.4/dns-query"
)]
pub struct BadServer;

impl Default for ResolvePlan {
    /// The reference's parameters by default.
    fn default() -> Self {
        Self {
            attempts: 2,
            preferred_attempts: 1,
            request_timeout: Duration::from_secs(5),
            await_timeout: Duration::from_millis(10),
            preresolved: None,
            alternate: None,
            first: First::System,
            transform: None,
            casing: None,
            name_must_match: false,
            edns0: false,
        }
    }
}

impl fmt::Debug for Preresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted name and address]")
    }
}

impl fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp(_) => "Udp([redacted])",
            Self::Tls { .. } => "Tls([redacted])",
            Self::Https { .. } => "Https([redacted])",
        })
    }
}

impl DnsServer {
    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tls { address, .. } | Self::Https { address, .. } => *address,
        }
    }
}

impl FromStr for DnsServer {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        if let Some(rest) = text.strip_prefix("tls://") {
            let (name, place) = rest.split_once('@').ok_or(BadServer)?;
            return Ok(Self::Tls { address: address(place, 853)?, name: host_name(name)? });
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let (name, place) = rest.split_once('@').ok_or(BadServer)?;
            let (place, path) = place.split_at(place.find('/').unwrap_or(place.len()));
            let path = if path.is_empty() { "/dns-query" } else { path };
            if path.len() > 256 || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
                return Err(BadServer);
            }
            let address = address(place, 443)?;
            return Ok(Self::Https { address, name: host_name(name)?, path: path.to_owned() });
        }
        Ok(Self::Udp(address(text, 53)?))
    }
}

fn address(text: &str, port: u16) -> Result<SocketAddr, BadServer> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(BadServer) } else { Ok(address) };
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).map_err(|_| BadServer)
}

fn host_name(text: &str) -> Result<String, BadServer> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.to_owned()) } else { Err(BadServer) }
}

impl TryFrom<String> for DnsServer {
    type Error = BadServer;

    fn try_from(text: String) -> Result<Self, BadServer> {
        text.parse()
    }
}

impl From<DnsServer> for String {
    fn from(server: DnsServer) -> Self {
        match server {
            DnsServer::Udp(address) => address.to_string(),
            DnsServer::Tls { address, name } => format!("tls://{name}@{address}"),
            DnsServer::Https { address, name, path } => format!("https://{name}@{address}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_written() {
        let cases = [
            ("8.8.8.8", "8.8.8.8:53"),
            ("8.8.8.8:5353", "8.8.8.8:5353"),
            ("2001:4860:4860::8888", "[2001:4860:4860::8888]:53"),
            ("[2001:4860:4860::8888]:54", "[2001:4860:4860::8888]:54"),
            ("tls://dns.google@8.8.8.8", "tls://dns.google@8.8.8.8:853"),
            ("https://dns.google@8.8.8.8", "https://dns.google@8.8.8.8:443/dns-query"),
            ("https://dns.google@[::1]:1/q?x", "https://dns.google@[::1]:1/q?x"),
        ];
        for (text, written) in cases {
            assert_eq!(String::from(text.parse::<DnsServer>().unwrap()), written);
        }
        for text in [
            "",
            "dns.google",
            "8.8.8.8:0",
            "tls://8.8.8.8",
            "https://a b@8.8.8.8",
            "https://a@8.8.8.8/ä",
            "8.8.8.8:x",
        ] {
            assert_eq!(text.parse::<DnsServer>(), Err(BadServer), "{text}");
        }
    }

    #[test]
    fn a_plan_survives_being_kept() {
        let plan = ResolvePlan {
            alternate: Some("https://dns.google@8.8.8.8".parse().unwrap()),
            casing: Some([7; 32]),
            preresolved: Some(Preresolved { name: "a".into(), address: [1, 2, 3, 4].into() }),
            ..ResolvePlan::default()
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<ResolvePlan>(&text).unwrap(), plan);
    }
}
