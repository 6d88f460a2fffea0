//! Finds the filters that can fit a client without looking at those that cannot. Filters that ask for the same kinds of thing, such as
//! country and provider, are a group, in which the values that they ask for are looked up at once. So the time goes with the
//! number of groups, which are few, and not of filters. Only what cannot be looked up, a pattern or a range of versions, is
//! tried filter by filter, and only where all else fits.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};

use super::facts::ClientFacts;
use super::filter::{Authorizations, Filter};

/// Entries of an index, all in all, beyond which filters with long lists are found by fewer of them.
const MOST_ENTRIES: usize = 1 << 20;

/// Filters by what they ask for. Says which may fit, not which do.
#[derive(Debug, Default)]
pub(super) struct Index {
    hasher: RandomState,
    /// What groups ask for.
    kinds: Vec<Kind>,
    /// Sorted by their first filter.
    groups: Vec<Group>,
}

/// A kind of thing that a filter can ask for by its exact value, and of which a client has one or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Protocol,
    Country,
    Isp,
    Asn,
    City,
    Revoked,
    Parameter(u8),
    Authorization(Token),
}

/// Something of which a client has any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Type,
    Id,
}

/// Filters that ask for the same kinds.
#[derive(Debug)]
struct Group {
    /// Places in [`Index::kinds`].
    kinds: Box<[usize]>,
    token: Option<Token>,
    first: u32,
    /// Numbers of filters in rising order, by what they ask for. Two values that have one key by chance cost a look, no more.
    filters: HashMap<u64, Vec<u32>, AsIs>,
}

impl Index {
    pub(super) fn new<'f>(filters: impl ExactSizeIterator<Item = &'f Filter>) -> Self {
        let mut index = Self::default();
        let most = (MOST_ENTRIES / filters.len().max(1)).max(1);
        let mut groups = BTreeMap::new();
        for (number, filter) in filters.enumerate() {
            let Ok(number) = u32::try_from(number) else { break };
            index.add(number, chosen(filter, most), &mut groups);
        }
        index.groups = groups.into_values().collect();
        index.groups.sort_unstable_by_key(|group| group.first);
        index
    }

    fn add(&mut self, number: u32, asked: Vec<(Kind, Vec<&str>)>, groups: &mut BTreeMap<Vec<Kind>, Group>) {
        let kinds = asked.iter().map(|(kind, _)| *kind).collect();
        let group = groups.entry(kinds).or_insert_with_key(|kinds| Group {
            kinds: kinds.iter().filter(|kind| kind.token().is_none()).map(|kind| self.place(*kind)).collect(),
            token: kinds.iter().find_map(|kind| kind.token()),
            first: number,
            filters: HashMap::default(),
        });
        // Every combination of a value of each list.
        let mut keys = vec![0];
        for (_, values) in asked {
            let hashes: Vec<u64> = values.into_iter().map(|value| self.hasher.hash_one(value)).collect();
            keys = keys.iter().flat_map(|key| hashes.iter().map(|hash| join(*key, *hash))).collect();
        }
        for key in keys {
            group.filters.entry(key).or_default().push(number);
        }
    }

    fn place(&mut self, kind: Kind) -> usize {
        self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        })
    }

    /// The first filter that can fit and does.
    pub(super) fn find(&self, client: &ClientFacts<'_>, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = |value| self.hasher.hash_one(value);
        let hashes: Vec<Option<u64>> = self.kinds.iter().map(|kind| kind.of(client).map(hash)).collect();
        let mut found = None;
        for group in &self.groups {
            if found.is_some_and(|found| found < group.first) {
                break;
            }
            let joined = group.kinds.iter().try_fold(0, |key, kind| Some(join(key, (*hashes.get(*kind)?)?)));
            let Some(key) = joined else { continue };
            match group.token {
                None => found = group.find(key, found, &fits),
                Some(token) => {
                    for value in token.of(client) {
                        found = group.find(join(key, hash(value)), found, &fits);
                    }
                }
            }
        }
        found
    }
}

impl Group {
    /// The first of its filters that fits, or `found` if that is before it.
    fn find(&self, key: u64, found: Option<u32>, fits: &impl Fn(u32) -> bool) -> Option<u32> {
        let candidates = self.filters.get(&key).into_iter().flatten().copied();
        let earlier = candidates.take_while(|number| found.is_none_or(|found| *number < found));
        earlier.into_iter().find(|number| fits(*number)).or(found)
    }
}

impl Kind {
    fn token(self) -> Option<Token> {
        match self {
            Self::Authorization(token) => Some(token),
            _ => None,
        }
    }

    /// What the client has of it.
    fn of<'c>(self, client: &ClientFacts<'c>) -> Option<&'c str> {
        match self {
            Self::Protocol => Some(client.protocol.name()),
            Self::Country => Some(client.country),
            Self::Isp => Some(client.isp),
            Self::Asn => Some(client.asn),
            Self::City => Some(client.city),
            Self::Revoked => client.handshake.filter(|handshake| handshake.revoked).map(|_| REVOKED),
            Self::Parameter(number) => client.handshake?.parameters.get(number),
            Self::Authorization(_) => None,
        }
    }
}

const REVOKED: &str = "";

impl Token {
    fn of<'c>(self, client: &ClientFacts<'c>) -> impl Iterator<Item = &'c str> {
        let tokens = client.handshake.map_or(&[][..], |handshake| match self {
            Self::Type => handshake.access_types,
            Self::Id => handshake.authorization_ids,
        });
        tokens.iter().map(String::as_str)
    }
}

/// What to find a filter by, sorted: as much of what it asks for as gives at most so many combinations, the rarest first, and
/// at least one thing.
fn chosen(filter: &Filter, most: usize) -> Vec<(Kind, Vec<&str>)> {
    let mut asked = asked(filter);
    asked.sort_by_key(|(_, values)| values.len());
    let mut combinations = 1_usize;
    let mut chosen: Vec<(Kind, Vec<&str>)> = Vec::new();
    for (kind, values) in asked {
        combinations = combinations.saturating_mul(values.len());
        if chosen.is_empty() || combinations <= most {
            chosen.push((kind, values));
        }
    }
    // Of a client's tokens one is tried at a time.
    chosen.sort_by_key(|(kind, _)| *kind);
    let tokens = chosen.iter().filter(|(kind, _)| kind.token().is_some()).count();
    if tokens > 1 {
        chosen.retain(|(kind, _)| *kind != Kind::Authorization(Token::Type));
    }
    chosen
}

/// Everything that can be looked up. Tokens sort last, like in keys.
fn asked(filter: &Filter) -> Vec<(Kind, Vec<&str>)> {
    let mut asked = Vec::new();
    if !filter.protocols.is_empty() {
        asked.push((Kind::Protocol, filter.protocols.iter().map(|protocol| protocol.name()).collect()));
    }
    let lists = [
        (Kind::Country, &filter.countries),
        (Kind::Isp, &filter.isps),
        (Kind::Asn, &filter.asns),
        (Kind::City, &filter.cities),
    ];
    let places = lists.into_iter().filter(|(_, names)| !names.is_empty());
    asked.extend(places.map(|(kind, names)| (kind, names.iter().collect())));
    for (number, patterns) in filter.handshake.parameters.iter().flatten() {
        if let Some(names) = patterns.literal() {
            asked.push((Kind::Parameter(*number), names.iter().collect()));
        }
    }
    match &filter.handshake.authorizations {
        Authorizations::Revoked => asked.push((Kind::Revoked, vec![REVOKED])),
        Authorizations::Active { types, ids } => {
            let lists = [(Token::Type, types), (Token::Id, ids)];
            let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
            asked.extend(lists.map(|(token, names)| (Kind::Authorization(token), names.iter().collect())));
        }
    }
    asked
}

/// Depends on the order, which is that of [`Kind`] on both sides.
fn join(key: u64, hash: u64) -> u64 {
    (key.rotate_left(23) ^ hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// For keys that are hashes already.
type AsIs = std::hash::BuildHasherDefault<Unhashed>;

#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = join(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
