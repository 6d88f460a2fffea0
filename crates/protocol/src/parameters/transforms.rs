//! Named text transforms, the scopes they apply in, and how often one is used: three parameters with a common beginning of
//! their names. PROTOCOL.md 2.5.

use std::borrow::Cow;
use std::collections::BTreeMap;

use culvert_obfuscation::{PrefixSpec, Transform};

use super::Probability;
use super::declare::{Group, Slot};
use super::fault::{Fault, Problems};
use super::value::Bounded;

const PROBABILITY: &str = "Probability";
const SPECS: &str = "Specs";
const SCOPED_NAMES: &str = "ScopedSpecNames";

/// What the names of prefix parameters end in. A prefix has exactly one pair and is generated from bytes.
const PREFIX: &str = "Prefix";

/// Named transforms or prefixes.
#[derive(Clone, Debug, PartialEq)]
pub struct Transforms {
    subject: &'static str,
    /// How likely one is used.
    pub probability: Probability,
    /// Name to a list of pattern and replacement.
    pub specs: BTreeMap<String, Vec<[String; 2]>>,
    /// Scope to names of specs; the empty scope is for all that have none of their own.
    pub scoped_names: BTreeMap<String, Vec<String>>,
}

impl Transforms {
    /// No transforms, of the parameters whose names begin so.
    pub(super) const fn named(subject: &'static str, probability: Probability) -> Self {
        Self { subject, probability, specs: BTreeMap::new(), scoped_names: BTreeMap::new() }
    }

    fn name(&self, part: &str) -> String {
        [self.subject, part].concat()
    }

    fn compile(&self, pairs: &[[String; 2]]) -> Result<(), Fault> {
        let pairs = borrowed(pairs);
        if self.subject.ends_with(PREFIX) {
            PrefixSpec::new(&pairs)?;
        } else {
            Transform::new(&pairs)?;
        }
        Ok(())
    }
}

impl Group for Transforms {
    fn visit(&mut self, visit: &mut dyn FnMut(Slot<'_>)) {
        let [probability, specs, scoped_names] =
            [PROBABILITY, SPECS, SCOPED_NAMES].map(|part| Cow::Owned(self.name(part)));
        visit(Slot {
            name: probability,
            about: "How likely one is used.",
            setting: &mut Bounded { value: &mut self.probability, bounds: () },
        });
        visit(Slot {
            name: specs,
            about: "The transforms or prefixes, by name.",
            setting: &mut Bounded { value: &mut self.specs, bounds: () },
        });
        visit(Slot {
            name: scoped_names,
            about: "Which may be used where, by scope.",
            setting: &mut Bounded { value: &mut self.scoped_names, bounds: () },
        });
    }

    fn check(&self, problems: &mut Problems) {
        for (name, pairs) in &self.specs {
            if let Err(fault) = self.compile(pairs) {
                problems.note(self.name(SPECS), vec![name.as_str().into()], fault);
            }
        }
        for (scope, names) in &self.scoped_names {
            for (index, name) in names.iter().enumerate().filter(|(_, name)| !self.specs.contains_key(*name))
            {
                let inside = vec![scope.as_str().into(), index.into()];
                problems.note(self.name(SCOPED_NAMES), inside, Fault::UnknownSpec(name.clone()));
            }
        }
    }
}

/// Pairs as the compilers of transforms take them.
pub(super) fn borrowed(pairs: &[[String; 2]]) -> Vec<(&str, &str)> {
    pairs.iter().map(|[matcher, generator]| (&**matcher, &**generator)).collect()
}
