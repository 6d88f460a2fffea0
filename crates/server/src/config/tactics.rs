//! The tactics file, as far as this build uses it: the prefixes to answer clients' prefixes with, and the parameters that
//! only a server reads. The other parameters
//! are checked, as the reference does, and remarked on: clients get them by tactics later. Source: PROTOCOL.md 2.5.

use std::collections::BTreeMap;
use std::path::Path;

use culvert_obfuscation::PrefixSpec;
use culvert_protocol::json_position::Step;
use culvert_protocol::parameters::{Parameters, Restrict, ServerParameters};
use serde_json::{Map, Value};

use super::data_files::TACTICS;
use super::document::{self, Document, Loaded, Strictness};
use super::finding::{ConfigError, Problem};
use super::schema::value_of;

/// Clients name the prefix that they sent; this says what to answer to each name.
const PREFIX_SPECS: &str = "ServerOSSHPrefixSpecs";

/// What the names of the parameters begin with that this server reads.
const READ: [&str; 12] = [
    "DestinationBytesMetrics",
    "FragmentorDownstream",
    "MeekPayloadPaddingServer",
    "OSSHPrefixEnableFragmentor",
    "ProxyProtocolHeader",
    "ServerDNSResolverCache",
    "RestrictDirectProviderRegions",
    "RestrictDirectProviderIDsServerProbability",
    "RestrictFrontingProviderIDsServerProbability",
    "ServerReplayFragmentor",
    "ServerReplayT",
    "ServerReplayUnknownGeoIP",
];
/// The same, as they are: others begin with them.
const READ_AS_IT_IS: [&str; 2] = ["RestrictFrontingProviderIDs", "ServerReplayFailedCountThreshold"];

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct Tactics {
    /// What to answer a client's prefix with, by the name that the client says.
    pub prefix_specs: BTreeMap<String, PrefixSpec>,
    /// Parameters that only a server reads.
    pub parameters: ServerParameters,
    /// Whether connections with a prefix may be fragmented too.
    pub fragment_with_prefix: bool,
    /// Whose servers are not for everybody; clients read this too.
    pub restrict: Restrict,
}

/// Reads the file that `TacticsConfigFilename` names.
pub(crate) fn load(file: &Path, strictness: Strictness) -> Result<Loaded<Tactics>, ConfigError> {
    parse(file, &document::read(file)?, strictness)
}

fn parse(file: &Path, text: &str, strictness: Strictness) -> Result<Loaded<Tactics>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, TACTICS)?;
    let mut read = Tactics::default();
    if let Some(Value::Object(tactics)) = value_of(&object, "DefaultTactics") {
        // Tactics of probability 0 are never applied.
        let applied = value_of(tactics, "Probability").and_then(Value::as_f64).is_some_and(|p| p > 0.0);
        if let (true, Some(Value::Object(parameters))) = (applied, value_of(tactics, "Parameters")) {
            read = tactics_of(&mut document, parameters);
        }
    }
    document.finish(Some(read), strictness)
}

fn tactics_of(document: &mut Document<'_>, parameters: &Map<String, Value>) -> Tactics {
    let step = |name: &str| Step::Key(name.to_owned());
    let path = |inside: &[Step]| [&[step("DefaultTactics"), step("Parameters")], inside].concat();
    let mut tactics = Tactics::default();
    let (mut clients, servers) = (Parameters::default(), ServerParameters::table());
    let has_effect =
        |name: &str| READ.iter().any(|start| name.starts_with(start)) || READ_AS_IT_IS.contains(&name);
    for (name, value) in parameters {
        if name == PREFIX_SPECS {
            tactics.prefix_specs = prefix_specs(document, &path(&[step(name)]), value);
            continue;
        }
        let result = if servers.iter().any(|row| row.name == *name) {
            tactics.parameters.set(name, value)
        } else {
            clients.set(name, value)
        };
        match result {
            Ok(()) if has_effect(name) => {}
            Ok(()) => document.find(&path(&[step(name)]), Problem::NoEffectYet),
            Err(error) => {
                let inside = [vec![step(name)], error.inside].concat();
                document.find(&path(&inside), Problem::BadParameter(error.fault));
            }
        }
    }
    for error in tactics.parameters.check() {
        document.find(&path(&[step(&error.name)]), Problem::BadParameter(error.fault));
    }
    tactics.fragment_with_prefix = clients.ossh.prefix_enable_fragmentor;
    tactics.restrict = clients.restrict;
    tactics
}

fn prefix_specs(document: &mut Document<'_>, path: &[Step], value: &Value) -> BTreeMap<String, PrefixSpec> {
    let mut specs = BTreeMap::new();
    let Value::Object(named) = value else {
        document.find(path, Problem::NotAPrefixSpec);
        return specs;
    };
    for (name, spec) in named {
        match prefix_spec(spec) {
            Ok(spec) => {
                specs.insert(name.clone(), spec);
            }
            Err(problem) => document.find(&[path, &[Step::Key(name.clone())]].concat(), problem),
        }
    }
    specs
}

/// One pair of an expression, which means nothing here, and a generator.
fn prefix_spec(spec: &Value) -> Result<PrefixSpec, Problem> {
    let pairs: Vec<(String, String)> =
        serde_json::from_value(spec.clone()).map_err(|_| Problem::NotAPrefixSpec)?;
    PrefixSpec::new(&pairs).map_err(Problem::BadPrefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(probability: f64, parameters: &str) -> Result<Loaded<Tactics>, ConfigError> {
        let text = format!(
            "{{\"DefaultTactics\": {{\"Probability\": {probability}, \"Parameters\": {parameters}}}, \
             \"FilteredTactics\": null}}"
        );
        parse(Path::new("f"), &text, Strictness::Check)
    }

    #[test]
    fn prefixes_are_read_and_the_rest_remarked_on() {
        let specs = r#"{"ServerOSSHPrefixSpecs": {"http": [["", "HTTP/1\\.1"]]}, "TacticsTimeout": "9s"}"#;
        let loaded = file(1.0, specs).unwrap();
        assert_eq!(loaded.value.prefix_specs.keys().collect::<Vec<_>>(), ["http"]);
        assert_eq!(loaded.warnings.len(), 1);
        assert!(file(0.0, specs).unwrap().value.prefix_specs.is_empty());
        assert!(file(0.0, "null").unwrap().value.prefix_specs.is_empty());
    }

    #[test]
    fn parameters_of_servers_are_read() {
        let text = r#"{"FragmentorDownstreamMaxTotalBytes": 300, "OSSHPrefixEnableFragmentor": true}"#;
        let loaded = file(1.0, text).unwrap();
        assert_eq!(loaded.value.parameters.fragmentor.max_total_bytes, 300);
        assert!(loaded.value.fragment_with_prefix && loaded.warnings.is_empty());
    }

    #[test]
    fn mistakes_have_a_place() {
        for (specs, message) in [
            (r#"{"ServerOSSHPrefixSpecs": 1}"#, "must be a list of one pair"),
            (
                r#"{"ServerOSSHPrefixSpecs": {"a": [["", "("]]}}"#,
                "DefaultTactics.Parameters.ServerOSSHPrefixSpecs.a",
            ),
            (r#"{"FragmentorDownstreamMinDelay": 5}"#, "FragmentorDownstreamMinDelay: expected a duration"),
            (r#"{"FragmentorDownstreamMinDelay": "1s"}"#, "FragmentorDownstreamMaxDelay: expected a value"),
            (
                r#"{"TacticsTimeuot": "9s"}"#,
                "TacticsTimeuot: unknown parameter (did you mean TacticsTimeout?)",
            ),
            (r#"{"TacticsTimeout": "0s"}"#, "TacticsTimeout: expected a duration"),
            (r#"{"ServerOSSHPrefixSpecs": {"a": []}}"#, "DefaultTactics.Parameters.ServerOSSHPrefixSpecs.a"),
        ] {
            let error = file(1.0, specs).unwrap_err().to_string();
            assert!(error.starts_with("f:") && error.contains(message), "{error}");
        }
    }
}
