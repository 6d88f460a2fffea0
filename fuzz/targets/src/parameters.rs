//! Tables of parameters, as tactics and configurations give them.

use culvert_protocol::parameters::{OnFault, Parameters, ServerParameters};
use serde_json::{Map, Value};

/// A table: applied in part, what is left breaks no rule, and its canonical form is taken whole and gives the same; refused,
/// nothing is set.
pub(crate) fn parameters(data: &[u8]) {
    let Ok(Value::Object(overrides)) = serde_json::from_slice(data) else { return };
    client(&overrides);
    let mut servers = ServerParameters::default();
    let applied = servers.apply(&overrides, OnFault::Skip).expect("nothing is refused");
    assert!(servers.check().is_empty(), "{:?}", servers.check());
    assert!(applied.set <= overrides.len());
    let mut again = ServerParameters::default();
    again.apply(&servers.overrides().into_iter().collect(), OnFault::Refuse).expect("it was taken before");
    assert!(again == servers);
}

fn client(overrides: &Map<String, Value>) {
    let mut parameters = Parameters::default();
    let applied = parameters.apply(overrides, OnFault::Skip).expect("nothing is refused");
    assert!(parameters.check().is_empty(), "{:?}", parameters.check());
    let mut again = Parameters::default();
    again.apply(&parameters.overrides().into_iter().collect(), OnFault::Refuse).expect("it was taken before");
    assert!(again == parameters && again.digest() == parameters.digest());
    let mut strict = Parameters::default();
    match strict.apply(overrides, OnFault::Refuse) {
        Ok(whole) => assert!(strict == parameters && whole.set == applied.set && applied.skipped.is_empty()),
        Err(errors) => assert!(!errors.is_empty() && strict == Parameters::default()),
    }
    for error in applied.skipped {
        assert!(!error.to_string().is_empty());
    }
}
