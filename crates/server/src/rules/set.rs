//! All rules of a server as one value that does not change, and the choice among them.

use std::sync::Arc;

use super::changes::{FilteredRules, RulesFile};
use super::facts::ClientFacts;
use super::filter::Filter;
use super::index::Index;
use super::limits::{MeekRate, TrafficRules};

/// A compiled traffic rules file. The default is that of a server without one.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// For clients that no filter fits.
    default: Arc<TrafficRules>,
    filtered: Box<[Filtered]>,
    index: Index,
    meek: Option<MeekRate>,
    limits_establishment: bool,
}

/// The rules of some clients.
#[derive(Debug)]
struct Filtered {
    filter: Filter,
    except: Option<Filter>,
    /// The default with the changes over it.
    rules: Arc<TrafficRules>,
}

impl RuleSet {
    /// Compiles a file for a server of a hosting provider, whose ID is empty if it is not known.
    pub fn compile(file: &RulesFile, provider: &str) -> Self {
        let default = Arc::new(file.default.over(&TrafficRules::default()));
        let here = file.filtered.iter().filter(|filtered| filtered.filter.concerns(provider));
        let compiled = |FilteredRules { filter, except, rules }: &FilteredRules| Filtered {
            filter: filter.clone(),
            except: except.clone().filter(|except| except.concerns(provider)),
            rules: Arc::new(rules.over(&default)),
        };
        let filtered: Box<[Filtered]> = here.map(compiled).collect();
        let index = Index::new(filtered.iter().map(|filtered| &filtered.filter));
        let limits = |rules: &Arc<TrafficRules>| rules.rates.limits_establishment();
        let limits_establishment =
            limits(&default) || filtered.iter().any(|filtered| limits(&filtered.rules));
        Self { default, filtered, index, meek: file.meek.clone(), limits_establishment }
    }

    /// The rules for a client.
    pub fn select(&self, client: &ClientFacts<'_>) -> Arc<TrafficRules> {
        let at = |number| self.filtered.get(usize::try_from(number).ok()?);
        let found = self.index.find(client, |number| at(number).is_some_and(|it| it.fits(client)));
        found.and_then(at).map_or(&self.default, |filtered| &filtered.rules).clone()
    }

    /// What `select` gives, by trying every filter in turn: for tests of the way without.
    #[doc(hidden)]
    pub fn select_by_trying_all(&self, client: &ClientFacts<'_>) -> Arc<TrafficRules> {
        let found = self.filtered.iter().find(|filtered| filtered.fits(client));
        found.map_or(&self.default, |filtered| &filtered.rules).clone()
    }

    /// The rules for clients that no filter fits.
    pub fn default_rules(&self) -> &Arc<TrafficRules> {
        &self.default
    }

    /// Whether there are rates for anybody before the handshake.
    pub fn limits_establishment(&self) -> bool {
        self.limits_establishment
    }

    /// How often addresses may begin sessions of meek; `None` is as often as they like.
    pub fn meek_rate(&self) -> Option<&MeekRate> {
        self.meek.as_ref()
    }
}

impl Filtered {
    fn fits(&self, client: &ClientFacts<'_>) -> bool {
        self.filter.fits(client) && !self.except.as_ref().is_some_and(|except| except.fits(client))
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
