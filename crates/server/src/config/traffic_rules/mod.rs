//! The traffic rules file: from its text to what it sets. Meaning of the rules: `crate::rules`.

mod filter;
mod keys;
mod rules;
mod section;

use std::path::Path;
use std::time::Duration;

use super::document::{self, Document, Loaded, Members, Strictness};
use super::finding::{ConfigError, Problem};
use crate::rules::{FilteredRules, MeekRate, RulesFile};
pub(super) use keys::FILE;
pub(crate) use keys::generated;
use section::Section;

/// Reads the file that `TrafficRulesFilename` names.
pub fn load(file: &Path, strictness: Strictness) -> Result<Loaded<RulesFile>, ConfigError> {
    parse(file, &document::read(file)?, strictness)
}

/// Reads a traffic rules file's text; `file` is for messages.
pub fn parse(file: &Path, text: &str, strictness: Strictness) -> Result<Loaded<RulesFile>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, FILE)?;
    // What is not forbidden then is open to everybody.
    document.refuse_misspelt();
    let mut section = Section::root(&mut document, Members::new(&object));
    let rules = RulesFile {
        default: section.inside(&keys::DEFAULT_RULES, rules::read).unwrap_or_default(),
        filtered: section.each(&keys::FILTERED_RULES, filtered),
        meek: meek_rate(&mut section),
    };
    document.finish(Some(rules), strictness)
}

fn filtered(section: &mut Section<'_, '_, '_>) -> FilteredRules {
    FilteredRules {
        filter: section.inside(&keys::FILTER_KEY, filter::read).unwrap_or_default(),
        except: section.inside(&keys::EXCEPT_FILTER, filter::read),
        rules: section.inside(&keys::FILTERED_RULE, rules::read).unwrap_or_default(),
    }
}

/// So many beginnings in so many seconds, evenly spread.
fn meek_rate(section: &mut Section<'_, '_, '_>) -> Option<MeekRate> {
    let history = section.count(&keys::METER_HISTORY).unwrap_or(0);
    let window = section.count(&keys::METER_WINDOW).unwrap_or(0);
    if history > 0 && window == 0 {
        section.find(&keys::METER_WINDOW, Problem::NeededPositive { other: keys::METER_HISTORY.name });
    }
    let rate = MeekRate {
        every: Duration::from_secs(window) / u32::try_from(history).unwrap_or(u32::MAX).max(1),
        protocols: section.protocols(&keys::METER_PROTOCOLS),
        regions: section.strings(&keys::METER_REGIONS),
        isps: section.strings(&keys::METER_ISPS),
        asns: section.strings(&keys::METER_ASNS),
        cities: section.strings(&keys::METER_CITIES),
    };
    (history > 0).then_some(rate)
}

#[cfg(test)]
mod answers_tests;
#[cfg(test)]
mod tests;
