//! What the network offers its clients: home pages, newer versions, pages behind alerts, which sites are counted, which servers still
//! exist, and servers that clients may be told of. Not the syntax of the file, which is `config::psinet`.
//! Source: the psinet database as operators of the reference have it; PROTOCOL.md 4.5, 4.7, 4.10.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use culvert_obfuscation::Prng;
use culvert_protocol::api::HostRegex;
use time::OffsetDateTime;

use crate::geoip::{Place, UNKNOWN};

/// An older list of servers does not make clients forget any.
const FRESH: Duration = Duration::from_secs(48 * 3600);

/// All of it. The default offers nothing.
#[derive(Clone, Debug, Default)]
pub struct Psinet {
    pub sponsors: BTreeMap<String, Sponsor>,
    /// Who stands for a sponsor that is not there.
    pub default_sponsor: String,
    /// The newest version for each platform, if it is a number.
    pub newest_versions: BTreeMap<String, i64>,
    /// Pages by the reason of an alert, where the sponsor has none.
    pub default_alert_urls: BTreeMap<String, Vec<String>>,
    pub servers: ServerTags,
    pub discovery: Vec<DiscoveryServer>,
}

/// Who distributes clients.
#[derive(Clone, Debug, Default)]
pub struct Sponsor {
    /// Pages by region.
    pub home_pages: BTreeMap<String, Vec<String>>,
    /// Instead of the others on telephones, if there are any.
    pub mobile_home_pages: BTreeMap<String, Vec<String>>,
    /// Pages by the reason of an alert.
    pub alert_urls: BTreeMap<String, Vec<String>>,
    /// How names of sites are counted.
    pub host_regexes: Arc<[HostRegex]>,
}

/// Which servers exist.
#[derive(Clone, Debug, Default)]
pub struct ServerTags {
    /// Empty is not known.
    pub valid: BTreeSet<String>,
    /// When the list was written.
    pub written: Option<SystemTime>,
}

/// A server that clients may be told of.
#[derive(Clone, Debug)]
pub struct DiscoveryServer {
    /// From when until when.
    pub dates: Option<(OffsetDateTime, OffsetDateTime)>,
    pub entry: String,
    pub address: IpAddr,
}

/// The kinds of platform that the database tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Platform {
    Android,
    Ios,
    Windows,
    #[default]
    Other,
}

impl Platform {
    /// What reports call it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Android => "Android",
            Self::Ios => "iOS",
            Self::Windows => "Windows",
            Self::Other => "Other",
        }
    }
}

/// What a client says of itself on which pages may depend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) sponsor: String,
    /// Where the device says that it is.
    pub(crate) device_region: Option<String>,
    pub(crate) platform: Platform,
}

impl Psinet {
    /// The pages to open, in random order.
    pub(crate) fn home_pages(&self, visitor: &Visitor, place: &Place, order: &mut Prng) -> Vec<String> {
        let Some(sponsor) = self.sponsor_or_default(&visitor.sponsor) else { return Vec::new() };
        let pages = if visitor.platform.is_mobile() && !sponsor.mobile_home_pages.is_empty() {
            &sponsor.mobile_home_pages
        } else {
            &sponsor.home_pages
        };
        let of_region = |region: &str| pages.get(region).filter(|pages| !pages.is_empty());
        let pages = of_region(&place.country).or_else(|| of_region(UNKNOWN));
        let mut pages: Vec<_> = pages.into_iter().flatten().map(|url| visitor.fill(place, url)).collect();
        order.shuffle(&mut pages);
        pages
    }

    /// Pages that say more about an alert. A sponsor that is not there has no pages of the default one here.
    pub(crate) fn alert_urls(&self, reason: &str, visitor: &Visitor, place: &Place) -> Vec<String> {
        let own = self.sponsors.get(&visitor.sponsor).and_then(|sponsor| sponsor.alert_urls.get(reason));
        let urls = own.filter(|urls| !urls.is_empty()).or_else(|| self.default_alert_urls.get(reason));
        urls.into_iter().flatten().map(|url| visitor.fill(place, url)).collect()
    }

    /// The newest version for a platform, if it is newer than the client's.
    pub(crate) fn upgrade(&self, platform: Platform, version: &str) -> Option<String> {
        let newest = *self.newest_versions.get(platform.name())?;
        (newest > version.parse::<i64>().ok()?).then(|| newest.to_string())
    }

    /// How names of sites are counted for clients of a sponsor.
    pub(crate) fn host_regexes(&self, sponsor: &str) -> Arc<[HostRegex]> {
        self.sponsor_or_default(sponsor).map(|sponsor| sponsor.host_regexes.clone()).unwrap_or_default()
    }

    fn sponsor_or_default(&self, id: &str) -> Option<&Sponsor> {
        self.sponsors.get(id).or_else(|| self.sponsors.get(&self.default_sponsor))
    }
}

impl ServerTags {
    /// Whether a server exists, as far as is known: a list that is empty or old proves nothing.
    pub(crate) fn is_valid(&self, tag: &str, now: SystemTime) -> bool {
        let age = self.written.and_then(|written| now.duration_since(written).ok());
        self.valid.is_empty() || age.is_some_and(|age| age > FRESH) || self.valid.contains(tag)
    }
}

impl Platform {
    /// From what clients say of themselves.
    pub(crate) fn of(client_platform: &str) -> Self {
        if client_platform.to_lowercase().contains("android") {
            Self::Android
        } else if client_platform.starts_with("iOS") {
            Self::Ios
        } else if client_platform.starts_with("Windows") {
            Self::Windows
        } else {
            Self::Other
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Android => "Android",
            Self::Ios => "iOS",
            Self::Windows => "Windows",
            Self::Other => "Other",
        }
    }

    fn is_mobile(self) -> bool {
        matches!(self, Self::Android | Self::Ios)
    }
}

impl Visitor {
    /// Puts in the first of each placeholder. Values come from clients and databases: they cannot leave their place in the URL.
    fn fill(&self, place: &Place, url: &str) -> String {
        let platform = self.platform.name().to_lowercase();
        let values = [
            ("client_region=", place.country.as_ref()),
            ("client_asn=", place.asn.as_ref()),
            ("device_region=", self.device_region.as_deref().unwrap_or(UNKNOWN)),
            ("client_platform=", platform.as_str()),
        ];
        let mut filled = Cow::Borrowed(url);
        for (name, value) in values {
            let placeholder = format!("{name}XX");
            if filled.contains(&placeholder) {
                filled = filled.replacen(&placeholder, &format!("{name}{}", query_escaped(value)), 1).into();
            }
        }
        filled.into_owned()
    }
}

/// As a value in a URL's query (RFC 3986 section 2.3, and + for a space).
fn query_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
#[path = "psinet_tests.rs"]
mod tests;
