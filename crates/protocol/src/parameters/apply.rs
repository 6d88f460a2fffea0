//! Setting parameters by name: one, or a whole table of them with what to do about those that are wrong. PROTOCOL.md 6.5.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde_json::{Map, Value as Json};

use super::declare::Slot;
use super::fault::{Fault, OverrideError};
use super::value::Unknown;
use super::{Flags, Parameters, Row, ServerParameters};
use crate::json_position::Step;

/// How often overrides that break a rule are taken back. Each time at least one goes, and what breaks rules again after
/// that is not worth more work.
const MOST_ROUNDS: usize = 8;

/// Who reads a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBy {
    /// A client; some of them servers too.
    Clients,
    /// Servers only.
    Servers,
}

/// What is done about overrides that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// None is applied. For what a person wrote.
    Refuse,
    /// The others are applied, and lists lose the items that this version does not know. For tactics, which may be newer
    /// than the client.
    Skip,
}

/// What became of a table of overrides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// How many parameters were set.
    pub set: usize,
    /// What was left out, and why: whole overrides, or items of lists.
    pub skipped: Vec<OverrideError>,
}

/// A hash of parameters. The plan of an earlier dial is used again only where this is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParametersDigest(pub [u8; 32]);

impl ParametersDigest {
    /// The digest of parameters that are not at their defaults.
    pub(super) fn of(overrides: &BTreeMap<String, Json>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for (name, value) in overrides {
            let value = value.to_string();
            for part in [name.as_bytes(), value.as_bytes()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

/// The parameters of one end.
pub(super) trait Side: Clone + Default {
    const SIDE: ReadBy;

    /// Shows all parameters, each with its topic.
    fn visit(&mut self, visit: &mut dyn FnMut(&'static str, Slot<'_>));

    fn broken_rules(&self) -> Vec<OverrideError>;
}

pub(super) fn set<S: Side>(side: &mut S, name: &str, value: &Json) -> Result<(), OverrideError> {
    set_with(side, name, value, &mut Unknown::Refuse)
}

fn set_with<S: Side>(
    side: &mut S,
    name: &str,
    value: &Json,
    unknown: &mut Unknown,
) -> Result<(), OverrideError> {
    let mut result = None;
    side.visit(&mut |_, slot| {
        if slot.name == name {
            result = Some(slot.setting.set(value, unknown).map_err(|flaw| flaw.of(name)));
        }
    });
    result.unwrap_or_else(|| Err(no_such::<S>(name)))
}

/// The error of a name that none has.
fn no_such<S: Side>(name: &str) -> OverrideError {
    let elsewhere = match S::SIDE {
        ReadBy::Clients => ServerParameters::table(),
        ReadBy::Servers => Parameters::table(),
    };
    let fault = if elsewhere.iter().any(|row| row.name == name) {
        Fault::OtherSide { of: S::SIDE }
    } else {
        let table = table::<S>();
        let near = crate::json_position::near_name(name, table.iter().map(|row| row.name.as_ref()));
        Fault::UnknownName { near: near.map(str::to_owned) }
    };
    OverrideError { name: name.to_owned(), inside: Vec::new(), fault }
}

pub(super) fn apply<S: Side>(
    side: &mut S,
    overrides: &Map<String, Json>,
    on_fault: OnFault,
) -> Result<Applied, Vec<OverrideError>> {
    let mut next = side.clone();
    let mut skipped = Vec::new();
    let mut set: Vec<&str> = Vec::new();
    for (name, value) in overrides {
        let mut unknown = match on_fault {
            OnFault::Refuse => Unknown::Refuse,
            OnFault::Skip => Unknown::Drop(Vec::new()),
        };
        match set_with(&mut next, name, value, &mut unknown) {
            Ok(()) => set.push(name),
            Err(error) => skipped.push(error),
        }
        if let Unknown::Drop(items) = unknown {
            skipped.extend(items.into_iter().map(|flaw| flaw.of(name)));
        }
    }
    if on_fault == OnFault::Refuse {
        skipped.extend(next.broken_rules());
        if !skipped.is_empty() {
            return Err(skipped);
        }
    } else {
        prune(&mut next, &mut skipped);
        take_back(&mut next, side, &mut set, &mut skipped);
    }
    *side = next;
    Ok(Applied { set: set.len(), skipped })
}

/// Takes items out of lists that only turn out to be unknown when all is set, such as TLS profiles.
fn prune<S: Side>(next: &mut S, skipped: &mut Vec<OverrideError>) {
    let mut unknown: Vec<OverrideError> =
        next.broken_rules().into_iter().filter(OverrideError::is_unknown_item).collect();
    // From the back, so that indices stay right.
    unknown.sort_by(|a, b| b.inside.cmp(&a.inside));
    let lists: BTreeMap<String, Json> = values(next)
        .into_iter()
        .filter(|(name, _)| unknown.iter().any(|error| error.name == *name))
        .collect();
    for (name, mut value) in lists {
        for error in unknown.iter().filter(|error| error.name == name) {
            take_out(&mut value, &error.inside);
        }
        let pruned = set_with(next, &name, &value, &mut Unknown::Refuse);
        debug_assert!(pruned.is_ok(), "{pruned:?}");
    }
    skipped.extend(unknown);
}

fn take_out(value: &mut Json, path: &[Step]) {
    match path {
        [Step::Index(index)] => {
            if let Some(list) = value.as_array_mut().filter(|list| *index < list.len()) {
                list.remove(*index);
            }
        }
        [Step::Key(key)] => {
            value.as_object_mut().and_then(|table| table.remove(key));
        }
        [Step::Key(key), rest @ ..] => {
            if let Some(inner) = value.get_mut(key) {
                take_out(inner, rest);
            }
        }
        [Step::Index(index), rest @ ..] => {
            if let Some(inner) = value.get_mut(index) {
                take_out(inner, rest);
            }
        }
        [] => {}
    }
}

/// Gives overrides that break rules the values back that they had.
fn take_back<S: Side>(next: &mut S, before: &S, set: &mut Vec<&str>, skipped: &mut Vec<OverrideError>) {
    for _ in 0..MOST_ROUNDS {
        let broken = next.broken_rules();
        let at_fault = |name: &str| broken.iter().any(|error| error.concerns(name));
        let earlier: Vec<(String, Json)> = values(&mut before.clone())
            .into_iter()
            .filter(|(name, _)| set.contains(&name.as_str()) && at_fault(name))
            .collect();
        if earlier.is_empty() {
            return;
        }
        for (name, value) in &earlier {
            // What was read from a parameter can be read into it.
            let restored = set_with(next, name, value, &mut Unknown::Refuse);
            debug_assert!(restored.is_ok(), "{restored:?}");
        }
        set.retain(|name| !earlier.iter().any(|(restored, _)| restored == name));
        skipped.extend(broken);
    }
    if !next.broken_rules().is_empty() {
        *next = before.clone();
        set.clear();
    }
}

fn values<S: Side>(side: &mut S) -> Vec<(String, Json)> {
    let mut values = Vec::new();
    side.visit(&mut |_, slot| values.push((slot.name.into_owned(), slot.setting.json())));
    values
}

pub(super) fn overrides<S: Side>(side: &S) -> BTreeMap<String, Json> {
    let defaults = values(&mut S::default());
    let now = values(&mut side.clone());
    now.into_iter().zip(defaults).filter(|(now, default)| now != default).map(|(now, _)| now).collect()
}

pub(super) fn table<S: Side>() -> Vec<Row> {
    let mut rows = Vec::new();
    S::default().visit(&mut |topic, slot| {
        rows.push(Row {
            kind: slot.setting.kind(),
            default: slot.setting.json(),
            bounds: slot.setting.bounds(),
            schema: slot.setting.schema(),
            flags: Flags {
                latency_scaled: slot.setting.is_scaled(),
                server_only: S::SIDE == ReadBy::Servers,
            },
            topic: topic.trim_ascii(),
            about: slot.about.trim_ascii(),
            name: slot.name,
        });
    });
    rows
}
