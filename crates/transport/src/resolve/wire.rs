//! Questions and answers of DNS as bytes. No sockets, no clock, and randomness is an argument. Source: RFC 1035, RFC 6891, TRANSPORTS.md 6.8.

use std::net::IpAddr;
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed, Transform, TransformError};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use thiserror::Error;

use super::is_bogus;
use super::plan::QueryTransform;

/// What a question says of the size of its answers. RFC 6891 section 6.2.3.
const MAX_PAYLOAD: u16 = 1232;
/// Largest message taken for an answer.
pub const MAX_ANSWER: usize = 4096;
/// Longest transformed question.
const MAX_QUERY: usize = 1232;
/// Most addresses taken from an answer, and most names that an alias may lead through.
const MOST_ADDRESSES: usize = 32;
const MOST_ALIASES: usize = 16;

/// The kind of address that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `A`.
    V4,
    /// `AAAA`.
    V6,
}

impl Family {
    const fn record(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// Why nothing can be asked. The name or the settings are at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadQuery {
    /// The name.
    #[error("not a host name")]
    Name,
    /// The settings' transform.
    #[error("DNS transform: {0}")]
    Transform(#[from] TransformError),
    /// What it made.
    #[error(
        "DNS transform: it makes something else than the hexadecimal of a message of at most {MAX_QUERY} bytes"
    )]
    Unfit,
}

/// A question, and what its answer must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    bytes: Vec<u8>,
    /// In ASCII, in the letter case of the question, with its final dot.
    name: String,
    family: Family,
    name_must_match: bool,
}

/// What a question is made of.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The name.
    pub name: &'a str,
    /// What of.
    pub family: Family,
    /// Random, to know the answer by.
    pub id: u16,
    /// Whether to add the option.
    pub edns0: bool,
    /// What the letter case is drawn from.
    pub casing: Option<&'a Seed>,
    /// What is done to the bytes.
    pub transform: Option<&'a QueryTransform>,
    /// Whether the answer must repeat the name as it was written.
    pub name_must_match: bool,
}

/// Addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Possibly none, where only IPv6 was asked for.
    pub addresses: Vec<IpAddr>,
    /// How long they may be kept: the least that was said.
    pub ttl: Option<Duration>,
}

/// Why a message is no answer. Another may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// Its bytes.
    #[error("not a DNS response")]
    Malformed,
    /// It answers another question, or somebody guesses.
    #[error("not an answer to the question that was asked")]
    Other,
    /// The server.
    #[error("the server answered with code {0}")]
    Refused(u16),
    /// The server, or who answers in its stead.
    #[error("no address in the answer")]
    Empty,
    /// Who answers lies.
    #[error("only addresses that no server can have in the answer")]
    Bogus,
}

impl Question {
    /// Writes a question.
    ///
    /// # Errors
    /// There can be none.
    pub fn new(asking: Asking<'_>) -> Result<Self, BadQuery> {
        let ascii = Name::from_utf8(asking.name).or_else(|_| Name::from_ascii(asking.name));
        let mut text = ascii.map_err(|_| BadQuery::Name)?.to_ascii();
        if !text.ends_with('.') {
            text.push('.');
        }
        if let Some(seed) = asking.casing {
            text = random_casing(&text, seed);
        }
        let name = Name::from_ascii(&text).map_err(|_| BadQuery::Name)?;
        if name.is_root() {
            return Err(BadQuery::Name);
        }
        let mut message = Message::new(asking.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, asking.family.record()));
        if asking.edns0 {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            message.set_edns(edns);
        }
        let mut bytes = message.to_vec().map_err(|_| BadQuery::Name)?;
        if let Some(transform) = asking.transform {
            bytes = transformed(&bytes, transform)?;
        }
        Ok(Self { bytes, name: text, family: asking.family, name_must_match: asking.name_must_match })
    }

    /// What is sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads what may be the answer.
    ///
    /// # Errors
    /// It is none, or none to be believed.
    pub fn answer(&self, bytes: &[u8]) -> Result<Found, NoAnswer> {
        if bytes.len() > MAX_ANSWER {
            return Err(NoAnswer::Malformed);
        }
        // As it was sent: a transform may have changed it.
        if bytes.get(..2) != self.bytes.get(..2) {
            return Err(NoAnswer::Other);
        }
        let message = Message::from_vec(bytes).map_err(|_| NoAnswer::Malformed)?;
        if message.metadata.message_type != MessageType::Response {
            return Err(NoAnswer::Malformed);
        }
        self.check_question(&message.queries)?;
        match message.metadata.response_code {
            ResponseCode::NoError => {}
            // There is no such name, hence no IPv6 address of it.
            ResponseCode::NXDomain if self.family == Family::V6 => return Ok(Found::default()),
            other => return Err(NoAnswer::Refused(other.into())),
        }
        self.found(&message)
    }

    /// A question that was repeated must be ours; letter case counts where it was made to.
    fn check_question(&self, queries: &[Query]) -> Result<(), NoAnswer> {
        let same = |query: &Query| {
            let name = query.name().to_ascii();
            let is_name = match self.name_must_match {
                true => name == self.name,
                false => name.eq_ignore_ascii_case(&self.name),
            };
            is_name && query.query_type() == self.family.record() && query.query_class() == DNSClass::IN
        };
        match queries {
            [query] if same(query) => Ok(()),
            // Servers exist that repeat nothing.
            [] if !self.name_must_match => Ok(()),
            _ => Err(NoAnswer::Other),
        }
    }

    fn found(&self, message: &Message) -> Result<Found, NoAnswer> {
        let mut names = vec![self.name.to_ascii_lowercase()];
        // Aliases stand in any order.
        for _ in 0..MOST_ALIASES {
            let next = message.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if names.contains(&lower(&record.name)) => {
                    Some(lower(&alias.0)).filter(|alias| !names.contains(alias))
                }
                _ => None,
            });
            match next {
                Some(name) => names.push(name),
                None => break,
            }
        }
        let (mut found, mut saw_bogus) = (Found::default(), false);
        for record in &message.answers {
            let address: IpAddr = match (&record.data, self.family) {
                (RData::A(address), Family::V4) => address.0.into(),
                (RData::AAAA(address), Family::V6) => address.0.into(),
                _ => continue,
            };
            if record.dns_class != DNSClass::IN || !names.contains(&lower(&record.name)) {
                continue;
            }
            if is_bogus(address) {
                saw_bogus = true;
            } else if found.addresses.len() < MOST_ADDRESSES && !found.addresses.contains(&address) {
                found.addresses.push(address);
                let ttl = Duration::from_secs(record.ttl.into());
                found.ttl = Some(found.ttl.map_or(ttl, |least| least.min(ttl)));
            }
        }
        match found.addresses.is_empty() {
            true if saw_bogus => Err(NoAnswer::Bogus),
            true if self.family == Family::V4 => Err(NoAnswer::Empty),
            _ => Ok(found),
        }
    }
}

fn lower(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// Letters in a case that is drawn: whoever answers without having seen the question must guess it. TRANSPORTS.md 6.8.
#[must_use]
pub fn random_casing(name: &str, seed: &Seed) -> String {
    let mut prng = Prng::new(seed);
    let mut draw = |c: char| {
        let flips = c.is_ascii_alphabetic() && prng.flip_coin();
        if flips { char::from(u8::try_from(c).unwrap_or_default() ^ 0x20) } else { c }
    };
    name.chars().map(&mut draw).collect()
}

fn transformed(bytes: &[u8], transform: &QueryTransform) -> Result<Vec<u8>, BadQuery> {
    let pairs: Vec<_> = transform.steps.iter().map(|[from, to]| (from, to)).collect();
    let hex = data_encoding::HEXLOWER.encode(bytes);
    let text = Transform::new(&pairs)?.apply(&Seed::from_bytes(transform.seed), hex.as_bytes())?;
    let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(&text).map_err(|_| BadQuery::Unfit)?;
    if (2..=MAX_QUERY).contains(&decoded.len()) { Ok(decoded) } else { Err(BadQuery::Unfit) }
}
