//! What is known of a client when rules are chosen for it: before the handshake where it is and how it came, afterwards also what it said.

use std::fmt;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::api::{LogAs, RequestKind, Shape};
use culvert_protocol::packed::{Params, Value};

use crate::geoip::Place;

/// A client, as filters see it. Borrowed: whoever serves the tunnel keeps what is in it.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'c> {
    pub protocol: TunnelProtocol,
    /// Two letters; like the other three, "None" where it is not known.
    pub country: &'c str,
    pub isp: &'c str,
    /// The number of the autonomous system, in decimal.
    pub asn: &'c str,
    pub city: &'c str,
    /// `None` until the handshake: filters that ask for anything of it do not fit yet.
    pub handshake: Option<HandshakeFacts<'c>>,
}

impl<'c> ClientFacts<'c> {
    /// A client before its handshake.
    pub fn at(place: &'c Place, protocol: TunnelProtocol) -> Self {
        let Place { country, isp, asn, city, .. } = place;
        Self { protocol, country, isp, asn, city, handshake: None }
    }
}

/// What a client's handshake says, and what became of the authorizations in it.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeFacts<'c> {
    pub parameters: &'c TextParameters,
    /// Of its authorizations that are valid: their types.
    pub access_types: &'c [String],
    /// And their IDs, in base64.
    pub authorization_ids: &'c [String],
    /// Another session took its authorizations over.
    pub revoked: bool,
}

impl HandshakeFacts<'_> {
    /// Whether the client says that it had tunnels before in this run. A number that is none says nothing.
    pub(super) fn had_tunnels(&self) -> bool {
        let count = parameter_number("established_tunnels_count").and_then(|it| self.parameters.get(it));
        count.and_then(|count| count.parse::<i64>().ok()).is_some_and(|count| count != 0)
    }
}

/// The parameters of a handshake that are texts, in little memory: they are kept as long as the tunnel, since rules that are
/// loaded later may ask for any of them.
#[derive(Clone, Default)]
pub struct TextParameters {
    /// The number of the rule in the table of parameters, and where its text ends; in rising order of both.
    ends: Box<[(u8, u32)]>,
    texts: Box<str>,
}

impl TextParameters {
    /// Longer values are not kept: no filter can mean them, and clients must not choose what memory they take.
    const LONGEST: usize = 1024;

    /// What filters can ask for of a handshake's parameters.
    pub fn new(params: &Params) -> Self {
        let (mut ends, mut texts) = (Vec::new(), String::new());
        for (number, spec) in RequestKind::Handshake.specs().enumerate() {
            let is_told = spec.shape == Shape::Text && spec.log != LogAs::AsLength;
            let Some(Value::Text(text)) = params.get(spec.name).filter(|_| is_told) else { continue };
            let numbers = u8::try_from(number).ok().zip(u32::try_from(texts.len() + text.len()).ok());
            if let Some(end) = numbers.filter(|_| text.len() <= Self::LONGEST) {
                texts.push_str(text);
                ends.push(end);
            }
        }
        Self { ends: ends.into(), texts: texts.into() }
    }

    /// The value of a parameter by the number of its rule.
    pub(super) fn get(&self, number: u8) -> Option<&str> {
        let index = self.ends.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, end) = self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        self.texts.get(usize::try_from(start).ok()?..usize::try_from(*end).ok()?)
    }
}

/// The number by which parameters of handshakes are looked up; `None` is no such parameter.
pub(crate) fn parameter_number(name: &str) -> Option<u8> {
    let position = RequestKind::Handshake.specs().position(|spec| spec.name == name)?;
    u8::try_from(position).ok()
}

/// The names of a handshake's parameters, for messages about misspelt ones.
pub(crate) fn parameter_names() -> impl Iterator<Item = &'static str> {
    RequestKind::Handshake.specs().map(|spec| spec.name)
}

/// Parameters hold addresses.
impl fmt::Debug for TextParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextParameters").field("count", &self.ends.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_by_its_number() {
        let long = "x".repeat(TextParameters::LONGEST + 1);
        let json = format!(
            r#"{{"sponsor_id": "0011223344556677", "client_version": "", "client_features": ["a"], "relay_protocol": "OSSH",
            "padding": "1234", "user_agent": "{long}", "tls_profile": "Chrome-120", "unheard_of": "1"}}"#
        );
        let parameters = TextParameters::new(&Params::from_json(json.as_bytes()).unwrap());
        let get = |name| parameter_number(name).and_then(|number| parameters.get(number));
        for (name, value) in [
            ("sponsor_id", Some("0011223344556677")),
            ("client_version", Some("")),
            ("relay_protocol", Some("OSSH")),
            ("tls_profile", Some("Chrome-120")),
            ("client_features", None),
            ("padding", None),
            ("user_agent", None),
            ("unheard_of", None),
            ("egress_region", None),
        ] {
            assert_eq!(get(name), value, "{name}");
        }
        assert!(!format!("{parameters:?}").contains("Chrome"));
        assert!(parameter_names().count() <= usize::from(u8::MAX));
    }
}
