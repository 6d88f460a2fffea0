//! Ports and blocks of addresses in parameters. PROTOCOL.md 6.5.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::UnknownName;
use super::fault::{Fault, Flaw};
use super::list::{self, Item};
use super::value::{Unknown, Value, text, wrong_kind};
use crate::json_position::near_name;
use crate::tunnel_protocol::TunnelProtocol;

/// The label of what holds for all protocols without a list of their own.
const ALL: &str = "All";
/// Most ranges in a list.
const MOST_RANGES: usize = 4096;

/// Ports, as ranges with both ends in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRanges(Vec<(u16, u16)>);

impl PortRanges {
    const KIND: &'static str = "a list of ports and [first, last] pairs";

    /// Whether the port is among them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    fn read(json: &Json) -> Result<Self, Flaw> {
        let list = json.as_array().ok_or_else(|| wrong_kind(Self::KIND, json))?;
        if list.len() > MOST_RANGES {
            return Err(Fault::TooMany { most: MOST_RANGES }.into());
        }
        let port = |json: &Json| json.as_u64().and_then(|port| u16::try_from(port).ok());
        let range = |json: &Json| match json.as_array().map(Vec::as_slice) {
            None => port(json).map(|port| (port, port)),
            Some([first, last]) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
            Some(_) => None,
        };
        let mut ranges = Vec::new();
        for (index, json) in list.iter().enumerate() {
            let flaw = || {
                Flaw::from(Fault::OutOfBounds { expected: Self::KIND.to_owned(), found: json.to_string() })
            };
            ranges.push(range(json).ok_or_else(|| flaw().inside(index.into()))?);
        }
        Ok(Self(ranges))
    }

    fn to_json(&self) -> Json {
        let range = |(first, last): &(u16, u16)| {
            if first == last { json!(first) } else { json!([first, last]) }
        };
        self.0.iter().map(range).collect()
    }
}

/// Lists of ports by tunnel protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolPorts {
    by_protocol: BTreeMap<TunnelProtocol, PortRanges>,
    others: Option<PortRanges>,
}

impl ProtocolPorts {
    /// Whether a protocol may use a port: by its own list, else by that for all, else it may.
    #[must_use]
    pub fn allows(&self, protocol: TunnelProtocol, port: u16) -> bool {
        let list = self.by_protocol.get(&protocol).or(self.others.as_ref());
        list.is_none_or(|list| list.contains(port))
    }

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_protocol.is_empty() && self.others.is_none()
    }
}

impl Value for ProtocolPorts {
    const KIND: &'static str = "lists of ports and [first, last] pairs, by tunnel protocol or \"All\"";
    type Bounds = ();

    fn read(json: &Json, _unknown: &mut Unknown) -> Result<Self, Flaw> {
        let Some(table) = list::table(json, Self::KIND)? else { return Ok(Self::default()) };
        let mut ports = Self::default();
        for (label, list) in table {
            let list = PortRanges::read(list).map_err(|flaw| flaw.inside(label.as_str().into()))?;
            if label == ALL {
                ports.others = Some(list);
            } else if let Ok(protocol) = label.parse() {
                ports.by_protocol.insert(protocol, list);
            } else {
                let names = TunnelProtocol::all().map(TunnelProtocol::name).chain([ALL]);
                let near = near_name(label, names).map(str::to_owned);
                let fault = Fault::UnknownItem { what: "a tunnel protocol", name: label.clone(), near };
                return Err(Flaw::from(fault).inside(label.as_str().into()));
            }
        }
        Ok(ports)
    }

    fn to_json(&self) -> Json {
        let named =
            self.by_protocol.iter().map(|(protocol, list)| (protocol.name().to_owned(), list.to_json()));
        let others = self.others.iter().map(|list| (ALL.to_owned(), list.to_json()));
        Json::Object(named.chain(others).collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": {"type": "array"}})
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// An address of it.
    pub address: IpAddr,
    /// How many bits of it are the same in all.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            Some(Self { address: address.parse().ok()?, prefix: prefix.parse().ok()? })
        });
        let fits = |cidr: &Self| cidr.prefix <= if cidr.address.is_ipv4() { 32 } else { 128 };
        parts.filter(fits).ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Item for Cidr {
    const LIST: &'static str = "a list of address blocks such as \"192.0.2.0/24\"";
    const LABELLED: &'static str = "lists of address blocks such as \"192.0.2.0/24\", each with a label";

    fn read_item(json: &Json) -> Result<Self, Flaw> {
        let text = text(json)?;
        text.parse().map_err(|_| {
            Fault::Malformed {
                expected: "an address block such as 192.0.2.0/24",
                detail: format!("{text:?} is none"),
            }
            .into()
        })
    }

    fn item_json(&self) -> Json {
        json!(self.to_string())
    }

    fn item_schema() -> Json {
        json!({"type": "string"})
    }
}
