//! Parameters of names: what a server is called in TLS and HTTP where its real name need not show, and what the client is
//! called in HTTP. TRANSPORTS.md 1.5, 2.3.

use culvert_obfuscation::{Pattern, PatternKind};

use super::Probability;
use super::declare::parameters;
use super::fault::{Fault, Problems};
use crate::TunnelProtocol;

parameters! {
    /// How host names and user agents are chosen.
    pub struct HostNames {
        /// How likely another name is sent than the true one, or one where there is none.
        transform_probability: Probability = Probability::HALF, "TransformHostNameProbability";
        /// Patterns to generate names from, instead of the built-in ones.
        custom_regexes: Vec<String> = Vec::new(), "CustomHostNameRegexes";
        /// How likely such a pattern is used.
        custom_probability: Probability = Probability::NEVER, "CustomHostNameProbability";
        /// For which protocols; all when empty.
        custom_limit_protocols: Vec<TunnelProtocol> = Vec::new(), "CustomHostNameLimitProtocols";
        /// How likely HTTP requests carry a browser's user agent.
        pick_user_agent_probability: Probability = Probability::ALWAYS, "PickUserAgentProbability";
    }
    rules HostNames::patterns_compile;
}

impl HostNames {
    fn patterns_compile(&self, problems: &mut Problems) {
        patterns_compile("CustomHostNameRegexes", &self.custom_regexes, problems);
    }
}

/// Notes the patterns of a parameter that names cannot be generated from.
pub(super) fn patterns_compile(parameter: &'static str, patterns: &[String], problems: &mut Problems) {
    for (index, pattern) in patterns.iter().enumerate() {
        if let Err(error) = Pattern::parse(pattern, PatternKind::Text) {
            problems.note(parameter, vec![index.into()], Fault::Pattern(error.into()));
        }
    }
}
