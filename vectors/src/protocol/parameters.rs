//! Names, defaults, minimums and flags of parameters.

use std::collections::BTreeMap;

use culvert_protocol::parameters::{CHANGED_DEFAULTS, Parameters, Row, ServerParameters};
use serde_json::Value;

use super::{array, same, text};

pub(super) fn defaults(file: &Value) -> Result<(), String> {
    let cases = array(file, "parameters")?;
    let rows = Parameters::table().into_iter().chain(ServerParameters::table());
    let mut rows: BTreeMap<String, Row> = rows.map(|row| (row.name.to_string(), row)).collect();
    for case in cases {
        let name = text(case, "name")?;
        let row =
            rows.remove(name).ok_or_else(|| format!("we have no parameter {name}, or it is here twice"))?;
        parameter(&row, case).map_err(|error| format!("{name}: {error}"))?;
    }
    // A file with fewer cases than there are parameters is a choice of them.
    match rows.keys().next() {
        Some(name) if file.get("count").and_then(Value::as_u64) == Some(cases.len() as u64) => {
            Err(format!("the reference has no parameter {name}"))
        }
        _ => Ok(()),
    }
}

fn parameter(row: &Row, case: &Value) -> Result<(), String> {
    let flag = |name| case.get(name).and_then(Value::as_bool).unwrap_or(false);
    same("side", row.flags.server_only, flag("server_side_only"))?;
    same("scaling", row.flags.latency_scaled, flag("use_network_latency_multiplier"))?;
    let reference = case.get("default").ok_or("the case has no default")?;
    match CHANGED_DEFAULTS.iter().find(|changed| changed.name == row.name) {
        Some(changed) => {
            same("reference's default", number(&changed.reference.to_json()), number(reference))?
        }
        None => same("default", number(&row.default), number(reference))?,
    }
    let least = row.bounds.as_ref().map(|(least, _)| number(least));
    match case.get("minimum") {
        Some(minimum) => same("minimum", least, Some(number(minimum))),
        None => Ok(()),
    }
}

/// Numbers are the same with and without a fraction of zero.
fn number(value: &Value) -> Value {
    value.as_f64().map_or_else(|| value.clone(), Value::from)
}
