//! Destinations that are suspected of harm: addresses and names with who says so and why, looked up in constant time. Not the
//! file's syntax, which is `config::blocklist`, and not what follows from a hit. Source: PROTOCOL.md 3.7.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Who suspects a destination, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub source: Arc<str>,
    pub subject: Arc<str>,
}

/// The list. It does not change; another takes its place. Debug tells only how long it is.
#[derive(Clone, Default)]
pub struct Blocklist {
    /// Each leads to one of `tags`.
    addresses: HashMap<IpAddr, u32>,
    names: HashMap<Box<str>, u32>,
    /// Few destinations have tags of their own, so each set is kept once.
    tags: Vec<Arc<[Tag]>>,
}

/// Makes a list.
#[derive(Default)]
pub struct Builder {
    list: Blocklist,
    texts: BTreeMap<Box<str>, Arc<str>>,
    sets: BTreeMap<Arc<[Tag]>, u32>,
}

impl std::fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blocklist({} addresses, {} names)", self.addresses.len(), self.names.len())
    }
}

impl Blocklist {
    /// What is said of an address; nothing when it is not listed. Mapped addresses are the IPv4 address.
    pub fn of_address(&self, address: IpAddr) -> &[Tag] {
        self.set(self.addresses.get(&address.to_canonical()))
    }

    /// What is said of a name, which is in lower case and without a final dot.
    pub fn of_name(&self, name: &str) -> &[Tag] {
        self.set(self.names.get(name))
    }

    /// How many destinations are listed.
    pub fn len(&self) -> usize {
        self.addresses.len() + self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set(&self, number: Option<&u32>) -> &[Tag] {
        let set = number.and_then(|number| self.tags.get(usize::try_from(*number).ok()?));
        set.map_or(&[], |tags| tags)
    }
}

impl Builder {
    /// Adds a tag to an address.
    pub fn address(&mut self, address: IpAddr, source: &str, subject: &str) {
        let address = address.to_canonical();
        let number = self.set_with(self.list.addresses.get(&address).copied(), source, subject);
        self.list.addresses.insert(address, number);
    }

    /// Adds a tag to a name. Letter case and a final dot do not count.
    pub fn name(&mut self, name: &str, source: &str, subject: &str) {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let number = self.set_with(self.list.names.get(name.as_str()).copied(), source, subject);
        self.list.names.insert(name.into(), number);
    }

    pub fn build(mut self) -> Blocklist {
        self.list.addresses.shrink_to_fit();
        self.list.names.shrink_to_fit();
        self.list
    }

    /// The set that has one tag more than set `before`.
    fn set_with(&mut self, before: Option<u32>, source: &str, subject: &str) -> u32 {
        let tag = Tag { source: self.text(source), subject: self.text(subject) };
        let known = self.list.set(before.as_ref());
        if let (true, Some(before)) = (known.contains(&tag), before) {
            return before;
        }
        let set: Arc<[Tag]> = known.iter().cloned().chain([tag]).collect();
        let next = u32::try_from(self.list.tags.len()).unwrap_or(u32::MAX);
        let number = *self.sets.entry(set.clone()).or_insert(next);
        if number == next {
            self.list.tags.push(set);
        }
        number
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.entry(text.into()).or_insert_with(|| text.into()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(tags: &[Tag]) -> Vec<&str> {
        tags.iter().map(|tag| &*tag.subject).collect()
    }

    #[test]
    fn tags_gather_and_forms_are_one() {
        let mut builder = Builder::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        builder.address(address, "s", "one");
        builder.address("::ffff:192.0.2.1".parse().unwrap(), "s", "two");
        builder.address(address, "s", "one");
        builder.name("Bad.Example.", "s", "one");
        builder.name("bad.example", "t", "one");
        let list = builder.build();
        assert_eq!(subjects(list.of_address(address)), ["one", "two"]);
        assert_eq!(subjects(list.of_address("::ffff:192.0.2.1".parse().unwrap())), ["one", "two"]);
        assert_eq!(subjects(list.of_name("bad.example")), ["one", "one"]);
        assert!(list.of_name("example").is_empty() && list.of_name("x.bad.example").is_empty());
        assert!(list.of_address("192.0.2.2".parse().unwrap()).is_empty());
        assert_eq!((list.len(), list.tags.len()), (2, 3));
        assert!(!format!("{list:?}").contains("bad"));
    }
}
