//! Validation of request parameters as the server does it. PROTOCOL.md 4.4.
//!
//! The rules are as lax, and as odd, as the reference's: its clients send what passes there.

use std::net::IpAddr;

use super::specs::{RequestKind, Shape, Spec};
use crate::packed::{Params, Value};
use crate::server_entry::EntrySource;
use crate::tunnel_protocol::TunnelProtocol;
use crate::{go_number, text_form, timestamp};

/// What a text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// Anything.
    Any,
    /// Hex digits, any number of them, of either case.
    HexDigits,
    /// Exactly 16 hex digits.
    SponsorId,
    /// A whole number within 64 bits.
    Int,
    /// A number.
    Float,
    /// Without white space.
    ClientPlatform,
    /// A geohash of 1 to 12 characters.
    GeoHash,
    /// Two capitals.
    RegionCode,
    /// The name of a tunnel protocol.
    RelayProtocol,
    /// `http`, `socks4a` or `socks5`, in any case.
    UpstreamProxyType,
    /// A host and a port.
    DialAddress,
    /// An IP literal.
    IpAddress,
    /// A domain name.
    Domain,
    /// A host, and a port or none.
    HostHeader,
    /// `0` or `1`.
    Flag,
    /// Where a server entry came from.
    EntrySource,
    /// A timestamp.
    Iso8601,
    /// A timestamp or `None`.
    LastConnected,
    /// Padded base64.
    Base64,
    /// Unpadded base64.
    Base64Unpadded,
}

/// A parameter that makes a request invalid. Values are not told: they may hold addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Required and not there.
    #[error("the client's request lacks the parameter {name}")]
    Missing {
        /// The parameter.
        name: &'static str,
    },
    /// Another type.
    #[error("the client's parameter {name} has the wrong type")]
    Type {
        /// The parameter.
        name: &'static str,
    },
    /// Not what the rule asks.
    #[error("the client's parameter {name} is not {expected:?}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// The rule.
        expected: Validator,
    },
}

/// Validates the parameters of a request. Any parameter that is there must be valid; unknown ones are no error.
///
/// # Errors
/// The first parameter that is missing or wrong.
pub fn validate(kind: RequestKind, params: &Params) -> Result<(), ParamError> {
    kind.specs().try_for_each(|spec| check(spec, params))
}

/// Validates a handshake.
///
/// # Errors
/// As [`validate`].
pub fn validate_handshake(params: &Params) -> Result<(), ParamError> {
    validate(RequestKind::Handshake, params)
}

/// Validates a connected request.
///
/// # Errors
/// As [`validate`].
pub fn validate_connected(params: &Params) -> Result<(), ParamError> {
    validate(RequestKind::Connected, params)
}

/// Validates a status request, without the records inside it.
///
/// # Errors
/// As [`validate`].
pub fn validate_status(params: &Params) -> Result<(), ParamError> {
    validate(RequestKind::Status, params)
}

fn check(spec: &Spec, params: &Params) -> Result<(), ParamError> {
    let name = spec.name;
    let Some(value) = params.get(name) else {
        return if spec.required { Err(ParamError::Missing { name }) } else { Ok(()) };
    };
    let accepts = |text: &str| {
        let expected = spec.validator;
        if expected.accepts(text) { Ok(()) } else { Err(ParamError::Invalid { name, expected }) }
    };
    match (spec.shape, value) {
        (Shape::Json, _) => Ok(()),
        (Shape::Text, Value::Text(text)) => accepts(text),
        (Shape::List, Value::TextList(list)) => list.iter().try_for_each(|text| accepts(text)),
        _ => Err(ParamError::Type { name }),
    }
}

impl Validator {
    /// True if the text is what it must be.
    #[must_use]
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::HexDigits => is_hex(text),
            Self::SponsorId => text.len() == 16 && is_hex(text),
            Self::Int => go_number::parse_int(text).is_some(),
            Self::Float => go_number::parse_float(text).is_some(),
            Self::ClientPlatform => !text.contains(char::is_whitespace),
            Self::GeoHash => is_geohash(text),
            Self::RegionCode => text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()),
            Self::RelayProtocol => text.parse::<TunnelProtocol>().is_ok(),
            Self::UpstreamProxyType => {
                ["http", "socks5", "socks4a"].iter().any(|t| text.eq_ignore_ascii_case(t))
            }
            Self::DialAddress => is_dial_address(text),
            Self::IpAddress => is_ip(text),
            Self::Domain => is_domain(text),
            Self::HostHeader if text.contains(':') => is_dial_address(text),
            Self::HostHeader => is_ip(text) || is_domain(text),
            Self::Flag => matches!(text, "0" | "1"),
            Self::EntrySource => text.parse::<EntrySource>().is_ok(),
            Self::Iso8601 => timestamp::is_iso8601(text),
            Self::LastConnected => text == "None" || timestamp::is_iso8601(text),
            Self::Base64 => text_form::base64(text).is_some(),
            Self::Base64Unpadded => text_form::base64_unpadded(text).is_some(),
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_geohash(text: &str) -> bool {
    const ALPHABET: &str = "0123456789bcdefghjkmnpqrstuvwxyz";
    (1..=12).contains(&text.len()) && text.chars().all(|c| ALPHABET.contains(c))
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Two parts at the only colon, so IPv6 fails; ports beyond 65535 pass, for records of dials that failed.
fn is_dial_address(text: &str) -> bool {
    let Some((host, port)) = text.split_once(':') else { return false };
    (is_ip(host) || is_domain(host))
        && port.bytes().all(|b| b.is_ascii_digit())
        && go_number::parse_int(port).is_some()
}

/// Each label must end in a character that domain names have; what comes before it is not looked at.
fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.starts_with('-') && label.bytes().next_back().is_some_and(|last| last.is_ascii_alphanumeric())
    };
    text.len() <= 255 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_beyond_the_known_cases() {
        for (validator, text, accepted) in [
            (Validator::ClientPlatform, "a\u{a0}b", false),
            (Validator::ClientPlatform, "a\u{85}b", false),
            (Validator::ClientPlatform, "aéb", true),
            (Validator::Domain, "é.org", false),
            (Validator::Domain, "éa.org", true),
            (Validator::Domain, &"a".repeat(70), true),
            (Validator::Domain, &"a.".repeat(128), false),
            (Validator::Domain, "example.org..", false),
            (Validator::DialAddress, "a.org:", false),
            (Validator::DialAddress, "a.org:+1", false),
            (Validator::DialAddress, "a.org:99999999999999999999", false),
            (Validator::HostHeader, "2001:db8::1", false),
            (Validator::IpAddress, "2001:db8::1", true),
            (Validator::IpAddress, "192.0.2.01", false),
            (Validator::RelayProtocol, "INPROXY-WEBRTC-OSSH", true),
            (Validator::RelayProtocol, "", false),
            (Validator::RegionCode, "É", false),
            (Validator::SponsorId, "éééééééé", false),
            (Validator::GeoHash, "9q8é", false),
        ] {
            assert_eq!(validator.accepts(text), accepted, "{validator:?} {text}");
        }
    }

    #[test]
    fn one_wrong_parameter_fails_the_request() {
        let request = |extra: &str| {
            let json = format!(
                r#"{{"propagation_channel_id":"AA","sponsor_id":"1122334455667788","client_version":"42","client_platform":"W"{extra}}}"#
            );
            validate_status(&Params::from_json(json.as_bytes()).unwrap())
        };
        assert_eq!(request(""), Ok(()));
        assert_eq!(request(r#","client_features":null,"nobody_knows":1"#), Ok(()));
        assert_eq!(request(r#","client_version":42"#), Err(ParamError::Type { name: "client_version" }));
        assert_eq!(
            request(r#","client_features":["a",1]"#),
            Err(ParamError::Type { name: "client_features" })
        );
        assert_eq!(request(r#","client_features":"a""#), Err(ParamError::Type { name: "client_features" }));
        assert_eq!(request(r#","sponsor_id":null"#), Err(ParamError::Missing { name: "sponsor_id" }));
        let invalid = ParamError::Invalid { name: "egress_region", expected: Validator::RegionCode };
        assert_eq!(request(r#","egress_region":"us""#), Err(invalid));
    }
}
