//! Named text transforms, the scopes they apply in, and how often one is used: three parameters with a common beginning of
//! their names. PROTOCOL.md 2.5.

use std::collections::BTreeMap;

use culvert_obfuscation::{PrefixSpec, Transform};
use serde_json::Value as Json;

use super::declare::Group;
use super::fault::{Fault, Flaw, OverrideError, Problems};
use super::value::{self, Value};
use super::{Probability, Row};

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

    fn set_part(&mut self, part: &str, value: &Json) -> Option<Result<(), Flaw>> {
        Some(match part {
            PROBABILITY => Value::read(value).map(|value| self.probability = value),
            SPECS => Value::read(value).map(|value| self.specs = value),
            SCOPED_NAMES => Value::read(value).map(|value| self.scoped_names = value),
            _ => return None,
        })
    }

    fn compile(&self, pairs: &[[String; 2]]) -> Result<(), Fault> {
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|[matcher, generator]| (&**matcher, &**generator)).collect();
        if self.subject.ends_with(PREFIX) {
            PrefixSpec::new(&pairs)?;
        } else {
            Transform::new(&pairs)?;
        }
        Ok(())
    }
}

impl Group for Transforms {
    fn set(&mut self, name: &str, value: &Json) -> Option<Result<(), OverrideError>> {
        let part = name.strip_prefix(self.subject)?;
        Some(self.set_part(part, value)?.map_err(|flaw| flaw.of(name)))
    }

    fn rows(&self) -> Vec<Row> {
        let named = |part, row: Row| Row { name: self.name(part).into(), ..row };
        vec![
            named(PROBABILITY, value::row("", &self.probability, &(), "How likely one is used.")),
            named(SPECS, value::row("", &self.specs, &(), "The transforms or prefixes, by name.")),
            named(
                SCOPED_NAMES,
                value::row("", &self.scoped_names, &(), "Which may be used where, by scope."),
            ),
        ]
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
