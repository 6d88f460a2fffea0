//! The tactics file, as far as this build uses it: the prefixes to answer clients' prefixes with. The other parameters
//! are accepted, so that the reference's files work, and remarked on. Source: PROTOCOL.md 2.5.

use std::collections::BTreeMap;
use std::path::Path;

use culvert_obfuscation::PrefixSpec;
use culvert_protocol::json_position::Step;
use serde_json::{Map, Value};

use super::data_files::TACTICS;
use super::document::{self, Document, Loaded, Strictness};
use super::finding::{ConfigError, Problem};
use super::schema::value_of;

/// Clients name the prefix that they sent; this says what to answer to each name.
const PREFIX_SPECS: &str = "ServerOSSHPrefixSpecs";

/// Reads the file that `TacticsConfigFilename` names.
pub(super) fn load(
    file: &Path,
    strictness: Strictness,
) -> Result<Loaded<BTreeMap<String, PrefixSpec>>, ConfigError> {
    parse(file, &document::read(file)?, strictness)
}

fn parse(
    file: &Path,
    text: &str,
    strictness: Strictness,
) -> Result<Loaded<BTreeMap<String, PrefixSpec>>, ConfigError> {
    let (mut document, object) = Document::parse(file, text, TACTICS)?;
    let mut specs = BTreeMap::new();
    if let Some(Value::Object(tactics)) = value_of(&object, "DefaultTactics") {
        // Tactics of probability 0 are never applied.
        let applied = value_of(tactics, "Probability").and_then(Value::as_f64).is_some_and(|p| p > 0.0);
        if let (true, Some(Value::Object(parameters))) = (applied, value_of(tactics, "Parameters")) {
            specs = prefix_specs(&mut document, parameters);
        }
    }
    document.finish(Some(specs), strictness)
}

fn prefix_specs(
    document: &mut Document<'_>,
    parameters: &Map<String, Value>,
) -> BTreeMap<String, PrefixSpec> {
    let step = |name: &str| Step::Key(name.to_owned());
    let path = [step("DefaultTactics"), step("Parameters")];
    let mut specs = BTreeMap::new();
    for (parameter, value) in parameters {
        let path: Vec<Step> = path.iter().cloned().chain([step(parameter)]).collect();
        match value {
            Value::Object(named) if parameter == PREFIX_SPECS => {
                for (name, spec) in named {
                    let path: Vec<Step> = path.iter().cloned().chain([step(name)]).collect();
                    match prefix_spec(spec) {
                        Ok(spec) => {
                            specs.insert(name.clone(), spec);
                        }
                        Err(problem) => document.find(&path, problem),
                    }
                }
            }
            _ if parameter == PREFIX_SPECS => document.find(&path, Problem::NotAPrefixSpec),
            _ => document.find(&path, Problem::NoEffectYet),
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

    fn file(probability: f64, parameters: &str) -> Result<Loaded<BTreeMap<String, PrefixSpec>>, ConfigError> {
        let text = format!(
            "{{\"DefaultTactics\": {{\"Probability\": {probability}, \"Parameters\": {parameters}}}, \
             \"FilteredTactics\": null}}"
        );
        parse(Path::new("f"), &text, Strictness::Check)
    }

    #[test]
    fn prefixes_are_read_and_the_rest_remarked_on() {
        let specs = r#"{"ServerOSSHPrefixSpecs": {"http": [["", "HTTP/1\\.1"]]}, "Other": 1}"#;
        let loaded = file(1.0, specs).unwrap();
        assert_eq!(loaded.value.keys().collect::<Vec<_>>(), ["http"]);
        assert_eq!(loaded.warnings.len(), 1);
        assert!(file(0.0, specs).unwrap().value.is_empty());
        assert!(file(0.0, "null").unwrap().value.is_empty());
    }

    #[test]
    fn mistakes_have_a_place() {
        for (specs, message) in [
            (r#"{"ServerOSSHPrefixSpecs": 1}"#, "must be a list of one pair"),
            (
                r#"{"ServerOSSHPrefixSpecs": {"a": [["", "("]]}}"#,
                "DefaultTactics.Parameters.ServerOSSHPrefixSpecs.a",
            ),
            (r#"{"ServerOSSHPrefixSpecs": {"a": []}}"#, "DefaultTactics.Parameters.ServerOSSHPrefixSpecs.a"),
        ] {
            let error = file(1.0, specs).unwrap_err().to_string();
            assert!(error.starts_with("f:1:") && error.contains(message), "{error}");
        }
    }
}
