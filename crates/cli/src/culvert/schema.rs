//! The verb `schema`: prints a JSON Schema of a configuration file, for editors.

use super::check::Kind;
use super::{Verb, print};
use crate::exit::Failure;
use crate::flags::{Arguments, Syntax};

pub(super) const VERB: Verb = Verb {
    syntax: Syntax { program: "schema", verbs: &[], flags: &[], most_words: 1 },
    synopsis: "KIND",
    summary: "print a JSON Schema of a configuration file",
    description: "\
Prints a JSON Schema, draft 2020-12, of one KIND of file: client, server,
traffic-rules, osl or tactics. Editors that are told of it complete the
names of settings, say what each is for, and mark what is wrong.

What one setting asks of another is not in it: culvert check looks at
that too.",
    sections: &[
        ("EXIT STATUS", "0; 64 if the command line is wrong."),
        (
            "EXAMPLES",
            "\
culvert schema client > client.schema.json
culvert schema server > psiphond.schema.json",
        ),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.words().next();
    let name = name.ok_or_else(|| Failure::usage("schema: name a kind of file, such as client or server"))?;
    let schema = match Kind::named(name)? {
        Kind::Client => culvert_client::config::json_schema(),
        Kind::Server(kind) => kind.json_schema(),
        Kind::Entries => {
            return Err(Failure::usage("schema: server entries are no JSON; use culvert entry show"));
        }
    };
    print(&format!("{schema:#}\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use culvert_protocol::duration::SignedDuration;
    use culvert_server::config::FileKind;
    use culvert_server::generate::{FileNames, Listeners, Options, generate};
    use serde_json::{Value, json};

    /// What is wrong with a value by a schema, as far as our schemas use the language. A keyword that is not known here
    /// is wrong too.
    fn flaws(value: &Value, schema: &Value, at: &str) -> Vec<String> {
        let mut flaws = Vec::new();
        for (keyword, says) in schema.as_object().expect("a schema is an object") {
            let fits = match keyword.as_str() {
                "$schema" | "title" | "description" | "default" | "examples" => true,
                "type" => match says {
                    Value::Array(types) => types.iter().any(|one| is_of_type(value, one)),
                    one => is_of_type(value, one),
                },
                "required" => value.as_object().is_none_or(|object| {
                    says.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
                }),
                "properties" | "additionalProperties" => {
                    flaws.extend(members(value, schema, keyword, at));
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        flaws.extend(self::flaws(item, says, &format!("{at}[{index}]")));
                    }
                    true
                }
                "anyOf" => says.as_array().unwrap().iter().any(|one| self::flaws(value, one, at).is_empty()),
                "enum" => says.as_array().unwrap().contains(value),
                "const" => value.as_f64() == says.as_f64(),
                "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().unwrap()),
                "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= says.as_u64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= says.as_u64().unwrap()),
                // The only pattern there is.
                "pattern" => value.as_str().is_none_or(|text| text.parse::<SignedDuration>().is_ok()),
                _ => false,
            };
            if !fits {
                flaws.push(format!("{at}: {value} breaks {keyword}: {says}"));
            }
        }
        flaws
    }

    fn members(value: &Value, schema: &Value, keyword: &str, at: &str) -> Vec<String> {
        let known = schema.get("properties").and_then(Value::as_object);
        let mut found = Vec::new();
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (keyword, known.and_then(|known| known.get(name)), &schema[keyword]) {
                ("properties", Some(schema), _)
                | ("additionalProperties", None, schema @ Value::Object(_)) => {
                    found.extend(flaws(member, schema, &at));
                }
                ("additionalProperties", None, Value::Bool(false)) => found.push(format!("{at}: unknown")),
                _ => {}
            }
        }
        found
    }

    fn is_of_type(value: &Value, one: &Value) -> bool {
        match one.as_str().expect("a type has a name") {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other} is no type"),
        }
    }

    #[test]
    fn generated_files_satisfy_their_schemas() {
        let files = FileNames::default();
        let options = Options {
            address: "192.0.2.1".parse().unwrap(),
            listeners: Listeners::parse(["OSSH:1", "TLS-OSSH:2", "UNFRONTED-MEEK-OSSH:3"]).unwrap(),
            log_file: None,
            files: files.clone(),
        };
        let generated = generate(&options).unwrap();
        for (file, kind) in [
            (&files.config, FileKind::Main),
            (&files.traffic_rules, FileKind::TrafficRules),
            (&files.osl, FileKind::Osl),
            (&files.tactics, FileKind::Tactics),
        ] {
            let text = generated.text(file).unwrap();
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(flaws(&value, &kind.json_schema(), ""), Vec::<String>::new());
        }
    }

    #[test]
    fn what_the_parser_takes_the_schema_takes_and_the_other_way_round() {
        let schema = culvert_client::config::json_schema();
        let base = json!({"PropagationChannelId": "0", "SponsorId": "0"});
        let with = |key: &str, value: Value| {
            let mut config = base.clone();
            config[key] = value;
            config
        };
        for (good, key, value) in [
            (true, "LocalSocksProxyPort", json!(1080)),
            (false, "LocalSocksProxyPort", json!("1080")),
            (true, "EgressRegion", Value::Null),
            (true, "LimitTunnelProtocols", json!(["OSSH"])),
            (false, "LimitTunnelProtocols", json!(["OSHS"])),
            (true, "EstablishTunnelTimeoutSeconds", json!(0)),
            (false, "OSSHPrefixProbability", json!(1.5)),
            (true, "OSSHPrefixSpecs", json!({"a": [["", "x"]]})),
            (false, "OSSHPrefixSpecs", json!({"a": [["x"]]})),
            (true, "Parameters", json!({"TunnelConnectTimeout": "1m30s", "ReplayCandidateCount": -1})),
            (false, "Parameters", json!({"TunnelConnectTimeout": 90})),
            (false, "Parameters", json!({"TunnelConectTimeout": "90s"})),
            (false, "Parameters", json!({"LimitQUICVersions": ["QUICv9"]})),
            (true, "Parameters", json!({"NetworkLatencyMultiplier": 0})),
            (true, "LimitTunnelDialPortNumbers", json!({"All": [443, [1, 5]]})),
            (false, "NoSuchKey", json!(1)),
            (true, "RateLimits", json!({"ReadBytesPerSecond": 5})),
        ] {
            let config = with(key, value);
            let flaws = flaws(&config, &schema, "");
            let parsed = culvert_client::config::parse_strictly("c", &config.to_string());
            assert_eq!(flaws.is_empty(), good, "{config}: {flaws:?}");
            assert_eq!(parsed.is_ok(), good, "{config}: {parsed:?}");
        }
        assert_eq!(flaws(&json!({"SponsorId": "0"}), &schema, "").len(), 1);
    }
}
