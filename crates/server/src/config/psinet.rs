//! The psinet database: its table of settings and what they become. Meaning: `crate::psinet`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use culvert_protocol::ServerEntry;
use culvert_protocol::api::HostRegex;
use culvert_protocol::json_position::Step;
use culvert_protocol::timestamp;
use serde_json::Value;

use super::document::{self, Document, Loaded, Members, Strictness};
use super::finding::{ConfigError, Problem};
use super::schema::{Key, Kind};
use crate::psinet::{DiscoveryServer, Psinet, ServerTags, Sponsor};
use Kind::{FlagMap, ObjectList, ObjectListMap, ObjectMap, Text, TextList, TextListMap};

const SPONSORS: Key =
    Key::applied("sponsors", ObjectMap(SPONSOR)).about("Who distributes clients, by their ID of 16 digits.");
const CLIENT_VERSIONS: Key = Key::applied("client_versions", ObjectListMap(CLIENT_VERSION))
    .about("Versions for Android, iOS, Windows and Other in rising order; the last is offered.");
const DEFAULT_SPONSOR_ID: Key =
    Key::applied("default_sponsor_id", Text).about("Who stands for a sponsor that is not listed.");
const DEFAULT_ALERT_ACTION_URLS: Key = Key::applied("default_alert_action_urls", TextListMap)
    .about("Pages by the reason of an alert, for sponsors without.");
const VALID_SERVER_ENTRY_TAGS: Key = Key::applied("valid_server_entry_tags", FlagMap)
    .about("Tags of all servers that exist; clients forget others while this file is younger than 48 hours.");
const DISCOVERY_SERVERS: Key = Key::applied("discovery_servers", ObjectList(DISCOVERY_SERVER))
    .about("Servers that clients may be told of.");

pub(super) const FILE: &[Key] = &[
    SPONSORS,
    CLIENT_VERSIONS,
    DEFAULT_SPONSOR_ID,
    DEFAULT_ALERT_ACTION_URLS,
    VALID_SERVER_ENTRY_TAGS,
    DISCOVERY_SERVERS,
];

const HOME_PAGES: Key = Key::applied("home_pages", ObjectListMap(HOME_PAGE))
    .about("Pages by region, None for all others. client_region=XX, client_asn=XX, device_region=XX and client_platform=XX are filled in.");
const MOBILE_HOME_PAGES: Key = Key::applied("mobile_home_pages", ObjectListMap(HOME_PAGE))
    .about("Instead of the others on Android and iOS, if there are any.");
const ALERT_ACTION_URLS: Key =
    Key::applied("alert_action_urls", TextListMap).about("Pages by the reason of an alert.");
const HTTPS_REQUEST_REGEXES: Key = Key::applied("https_request_regexes", ObjectList(REGEX))
    .about("How clients count bytes by names of sites.");

const SPONSOR: &[Key] = &[
    Key::moot("id", Text).about("The same ID."),
    HOME_PAGES,
    MOBILE_HOME_PAGES,
    ALERT_ACTION_URLS,
    HTTPS_REQUEST_REGEXES,
];

const URL: Key = Key::applied("url", Text).about("The page.");
const HOME_PAGE: &[Key] = &[Key::moot("region", Text).about("The same region."), URL];

const REGEX_TEXT: Key = Key::applied("regex", Text).about("What a name must match.");
const REPLACE: Key = Key::applied("replace", Text).about("Under which name it is counted.");
const REGEX: &[Key] = &[REGEX_TEXT, REPLACE];

const VERSION: Key = Key::applied("version", Text).about("A whole number.");
const CLIENT_VERSION: &[Key] = &[VERSION];

const DATE_RANGE: Key = Key::applied("discovery_date_range", TextList).about("From when until when.");
const ENCODED_ENTRY: Key = Key::applied("encoded_server_entry", Text).about("The server's entry in hex.");
const DISCOVERY_SERVER: &[Key] = &[DATE_RANGE, ENCODED_ENTRY];

/// Reads the file that `PsinetDatabaseFilename` names.
pub fn load(file: &Path, strictness: Strictness) -> Result<Loaded<Psinet>, ConfigError> {
    // Before it is read: a list is rather taken for older than it is.
    let written = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    parse(file, &document::read(file)?, written, strictness)
}

/// Understands the text of a database that was written then; `file` is for messages.
pub fn parse(
    file: &Path,
    text: &str,
    written: Option<SystemTime>,
    strictness: Strictness,
) -> Result<Loaded<Psinet>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, FILE)?;
    let members = Members::new(&object);
    let sponsors = members.object(&SPONSORS).map(|(id, sponsor)| {
        let path = [Step::from(SPONSORS.name), Step::Key(id.clone())];
        (id.clone(), read_sponsor(&mut document, sponsor, &path))
    });
    let sponsors = sponsors.collect();
    let psinet = Psinet {
        sponsors,
        default_sponsor: members.text(&DEFAULT_SPONSOR_ID).unwrap_or_default().to_owned(),
        newest_versions: newest_versions(&mut document, &members),
        default_alert_urls: urls(&members, &DEFAULT_ALERT_ACTION_URLS),
        servers: ServerTags { valid: valid_tags(&members), written },
        discovery: discovery(&mut document, &members),
    };
    document.finish(Some(psinet), strictness)
}

fn read_sponsor(document: &mut Document<'_>, sponsor: &Value, path: &[Step]) -> Sponsor {
    let Some(members) = sponsor.as_object().map(Members::new) else { return Sponsor::default() };
    let mut host_regexes = Vec::new();
    for (index, rule) in members.list(&HTTPS_REQUEST_REGEXES).enumerate() {
        let Some(rule) = rule.as_object().map(Members::new) else { continue };
        let text = |key| rule.text(key).unwrap_or_default().to_owned();
        let rule = HostRegex { regex: text(&REGEX_TEXT), replace: text(&REPLACE) };
        if regex::Regex::new(&rule.regex).is_err() {
            let inside = [HTTPS_REQUEST_REGEXES.name.into(), Step::Index(index), REGEX_TEXT.name.into()];
            document.find(&[path, &inside].concat(), Problem::NotARegex { found: rule.regex.clone() });
        }
        host_regexes.push(rule);
    }
    Sponsor {
        home_pages: pages(&members, &HOME_PAGES),
        mobile_home_pages: pages(&members, &MOBILE_HOME_PAGES),
        alert_urls: urls(&members, &ALERT_ACTION_URLS),
        host_regexes: host_regexes.into(),
    }
}

fn pages(members: &Members<'_>, key: &Key) -> BTreeMap<String, Vec<String>> {
    let url = |page: &Value| Some(Members::new(page.as_object()?).text(&URL)?.to_owned());
    let pages = |list: &Value| list.as_array().into_iter().flatten().filter_map(url).collect();
    members.object(key).map(|(region, list)| (region.clone(), pages(list))).collect()
}

fn urls(members: &Members<'_>, key: &Key) -> BTreeMap<String, Vec<String>> {
    let texts = |list: &Value| {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    members.object(key).map(|(reason, list)| (reason.clone(), texts(list))).collect()
}

/// The last of each list, which the reference takes for the newest.
fn newest_versions(document: &mut Document<'_>, members: &Members<'_>) -> BTreeMap<String, i64> {
    let mut newest = BTreeMap::new();
    for (platform, list) in members.object(&CLIENT_VERSIONS) {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let Some((last, before)) = list.split_last() else { continue };
        let version = |value: &Value| Members::new(value.as_object()?).text(&VERSION)?.parse::<i64>().ok();
        let path = [CLIENT_VERSIONS.name.into(), Step::Key(platform.clone()), Step::Index(before.len())];
        let Some(last) = version(last) else {
            document.find(&path, Problem::NotAVersion);
            continue;
        };
        if before.iter().filter_map(version).any(|earlier| earlier > last) {
            document.find(&path, Problem::NotTheNewest);
        }
        newest.insert(platform.clone(), last);
    }
    newest
}

fn valid_tags(members: &Members<'_>) -> BTreeSet<String> {
    let tags = members.object(&VALID_SERVER_ENTRY_TAGS);
    tags.filter(|(_, valid)| valid.as_bool() == Some(true)).map(|(tag, _)| tag.clone()).collect()
}

fn discovery(document: &mut Document<'_>, members: &Members<'_>) -> Vec<DiscoveryServer> {
    let mut servers: Vec<DiscoveryServer> = Vec::new();
    let mut addresses = BTreeMap::new();
    for (index, server) in members.list(&DISCOVERY_SERVERS).enumerate() {
        let Some(server) = server.as_object().map(Members::new) else { continue };
        let at = |key: &Key| [DISCOVERY_SERVERS.name.into(), Step::Index(index), key.name.into()];
        let line = server.text(&ENCODED_ENTRY).unwrap_or_default();
        let entry = match ServerEntry::decode(line) {
            Ok(entry) => entry,
            Err(error) => {
                document.find(&at(&ENCODED_ENTRY), Problem::BadEntry(error));
                continue;
            }
        };
        let dates: Vec<_> = server.list(&DATE_RANGE).filter_map(Value::as_str).collect();
        let dates = match dates.as_slice() {
            [] => None,
            [from, until] => timestamp::parse(from).zip(timestamp::parse(until)),
            _ => None,
        };
        if dates.is_none() && server.list(&DATE_RANGE).next().is_some() {
            document.find(&at(&DATE_RANGE), Problem::NotADateRange);
        }
        if let Some(first) = addresses.insert(entry.address(), index) {
            // Clients are spread over addresses, each of which must stand for one server.
            document.find(&at(&ENCODED_ENTRY), Problem::SameAddress { first });
        }
        servers.push(DiscoveryServer { dates, entry: line.to_owned(), address: entry.address() });
    }
    servers
}
