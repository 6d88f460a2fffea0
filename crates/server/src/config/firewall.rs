//! The chain of the host's firewall that this server fills, if it is to fill one.

use std::collections::BTreeMap;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::json_position::Step;

use super::document::{Document, Members};
use super::finding::Problem;
use super::schema::describe;
use super::server::protocol;
use super::server_keys as keys;

/// The longest name of a chain that iptables takes.
const MOST_NAME: usize = 28;
/// More would be no limit.
const MOST: u64 = 1_000_000;

/// Which chain, and what to let through there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallConfig {
    /// It exists, and packets get there.
    pub chain: String,
    /// The two numbers of a protocol; 0 is the default of each.
    pub limits: BTreeMap<TunnelProtocol, [u32; 2]>,
    /// This process may only change it by sudo.
    pub by_sudo: bool,
}

pub(super) fn firewall(document: &mut Document<'_>, members: &Members<'_>) -> Option<FirewallConfig> {
    let key = &keys::IPTABLES_CHAIN;
    let limits = limits(document, members);
    let chain = members.text(key).filter(|name| !name.is_empty())?;
    let is_fit = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
    if chain.len() > MOST_NAME || chain.starts_with('-') || !chain.bytes().all(is_fit) {
        document.find_at(key, Problem::NotAChain { found: chain.to_owned() });
    }
    Some(FirewallConfig { chain: chain.to_owned(), limits, by_sudo: members.flag(&keys::SUDO) })
}

fn limits(document: &mut Document<'_>, members: &Members<'_>) -> BTreeMap<TunnelProtocol, [u32; 2]> {
    let key = &keys::IPTABLES_LIMITS;
    let mut limits = BTreeMap::new();
    if let Some(value) = members.value(key).filter(|value| !value.is_object()) {
        document.find_at(key, Problem::WrongKind { expected: "an object", found: describe(value) });
    }
    for (name, value) in members.object(key) {
        let numbers = || {
            let [first, second] = value.as_array()?.as_slice() else { return None };
            let number = |value: &serde_json::Value| {
                u32::try_from(value.as_u64().filter(|number| *number <= MOST)?).ok()
            };
            Some([number(first)?, number(second)?])
        };
        match protocol(name).and_then(|protocol| Ok((protocol, numbers().ok_or(Problem::NotTwoNumbers)?))) {
            Ok((protocol, numbers)) => drop(limits.insert(protocol, numbers)),
            Err(problem) => document.find(&[Step::from(key.name), Step::Key(name.clone())], problem),
        }
    }
    limits
}
