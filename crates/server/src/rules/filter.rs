//! Whose rules some rules are: what a filter asks of a client, and whether a client is one. All that is asked must be so; of a list, one
//! is enough, and an empty list asks for nothing.

use culvert_protocol::TunnelProtocol;

use super::facts::{ClientFacts, HandshakeFacts, parameter_number};

/// What is asked of a client.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub protocols: Vec<TunnelProtocol>,
    pub countries: Names,
    pub isps: Names,
    pub asns: Names,
    pub cities: Names,
    pub handshake: HandshakeFilter,
    /// Of this server, not of the client.
    pub providers: Names,
}

/// What is asked of a client's handshake, and fits nobody before it.
#[derive(Clone, Debug, Default)]
pub struct HandshakeFilter {
    pub api: Api,
    /// By the number of the parameter. Even an empty list asks for a handshake.
    pub parameters: Option<Vec<(u8, Patterns)>>,
    pub authorizations: Authorizations,
    pub versions: Versions,
}

/// How API requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    #[default]
    Any,
    /// Inside the tunnel, like those of all clients of this server.
    Ssh,
    /// Any other way: no client's do.
    Other,
}

/// What is asked of authorizations.
#[derive(Clone, Debug)]
pub enum Authorizations {
    /// There must be one of a listed type, and one with a listed ID, neither revoked.
    Active { types: Names, ids: Names },
    /// They must have been revoked.
    Revoked,
}

impl Default for Authorizations {
    fn default() -> Self {
        Self::Active { types: Names::default(), ids: Names::default() }
    }
}

/// A range of client versions, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub least: Option<i64>,
    pub most: Option<i64>,
}

/// A list of texts for looking one up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Box<[Box<str>]>);

/// Texts with `*` for any number of any characters. None of them fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Names);

impl Filter {
    pub(super) fn fits(&self, client: &ClientFacts<'_>) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&client.protocol))
            && self.countries.asks_for(client.country)
            && self.isps.asks_for(client.isp)
            && self.asns.asks_for(client.asn)
            && self.cities.asks_for(client.city)
            && self.handshake.fits(client.handshake.as_ref())
    }

    /// Whether this server is one that it is meant for.
    pub(super) fn concerns(&self, provider: &str) -> bool {
        self.providers.asks_for(provider)
    }
}

impl HandshakeFilter {
    fn asks_for_nothing(&self) -> bool {
        self.api == Api::Any
            && self.parameters.is_none()
            && self.versions == Versions::default()
            && matches!(&self.authorizations, Authorizations::Active { types, ids } if types.is_empty() && ids.is_empty())
    }

    fn fits(&self, handshake: Option<&HandshakeFacts<'_>>) -> bool {
        let Some(handshake) = handshake else { return self.asks_for_nothing() };
        let mut parameters = self.parameters.iter().flatten();
        self.api != Api::Other
            && self.versions.fit(handshake)
            && self.authorizations.fit(handshake)
            && parameters.all(|(number, patterns)| {
                handshake.parameters.get(*number).is_some_and(|value| patterns.fit(value))
            })
    }
}

impl Authorizations {
    fn fit(&self, handshake: &HandshakeFacts<'_>) -> bool {
        match self {
            Self::Revoked => handshake.revoked,
            Self::Active { types, ids } => {
                let has = |asked: &Names, had: &[String]| {
                    asked.is_empty() || !handshake.revoked && had.iter().any(|it| asked.contains(it))
                };
                has(types, handshake.access_types) && has(ids, handshake.authorization_ids)
            }
        }
    }
}

impl Versions {
    fn fit(self, handshake: &HandshakeFacts<'_>) -> bool {
        if self == Self::default() {
            return true;
        }
        let text = parameter_number("client_version").and_then(|number| handshake.parameters.get(number));
        text.and_then(|text| text.parse::<i64>().ok()).is_some_and(|version| {
            self.least.is_none_or(|least| version >= least) && self.most.is_none_or(|most| version <= most)
        })
    }
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|listed| listed.as_ref().cmp(name)).is_ok()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// True also of an empty list.
    fn asks_for(&self, name: &str) -> bool {
        self.is_empty() || self.contains(name)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }
}

impl Patterns {
    pub fn fit(&self, value: &str) -> bool {
        self.0.contains(value) || self.0.iter().any(|pattern| fits(pattern, value))
    }

    /// The values that fit, if they can be listed.
    pub(super) fn literal(&self) -> Option<&Names> {
        (!self.0.iter().any(|pattern| pattern.contains('*'))).then_some(&self.0)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Patterns {
    fn from_iter<I: IntoIterator<Item = S>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

/// Takes each part at its first place, which leaves the most to those that follow.
fn fits(pattern: &str, value: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut value) = value.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match value.split_once(part) {
            Some((_, after)) => value = after,
            None => return false,
        }
    }
    value.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, value, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*c", "ac", true),
            ("a*c", "abbc", true),
            ("aa*aa", "aaa", false),
            ("aa*aa", "aaaa", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("a*b*c", "abcbc", true),
            ("a**c", "abc", true),
            ("ä*ö", "äxö", true),
            ("Android_*_4.?", "Android_10_4.x", false),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern:?} and {value:?}");
        }
    }
}
