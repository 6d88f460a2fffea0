//! Names, defaults and minimums of parameters.

use culvert_protocol::parameters::{Parameters, Row, ServerParameters};
use serde_json::Value;

use super::{array, same, text};

/// Our default differs from the reference's: a prefix is on unless it is switched off.
const ON_BY_DEFAULT: &[&str] = &["OSSHPrefixProbability", "ShadowsocksPrefixProbability"];

pub(super) fn defaults(file: &Value) -> Result<(), String> {
    let cases = array(file, "parameters")?;
    let client = Parameters::table().into_iter().map(|row| (row, false));
    for (row, on_server) in client.chain(ServerParameters::table().into_iter().map(|row| (row, true))) {
        let case = cases.iter().find(|case| text(case, "name") == Ok(row.name.as_ref()));
        let case = case.ok_or_else(|| format!("the reference has no parameter {}", row.name))?;
        default(&row, case, on_server).map_err(|error| format!("{}: {error}", row.name))?;
    }
    Ok(())
}

fn default(row: &Row, case: &Value, on_server: bool) -> Result<(), String> {
    let expected = case.get("default").ok_or("the case has no default")?;
    let server_only = case.get("server_side_only").and_then(Value::as_bool).unwrap_or(false);
    same("side", on_server, server_only)?;
    if !ON_BY_DEFAULT.contains(&row.name.as_ref()) {
        same("default", number(&row.default), number(expected))?;
    }
    // What has bounds here has the reference's lower one.
    match (&row.bounds, case.get("minimum")) {
        (Some((least, _)), Some(minimum)) => same("minimum", number(least), number(minimum)),
        _ => Ok(()),
    }
}

/// Numbers are the same with and without a fraction of zero.
fn number(value: &Value) -> Value {
    value.as_f64().map_or_else(|| value.clone(), Value::from)
}
