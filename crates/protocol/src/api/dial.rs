//! How a tunnel was dialled, as parameters that only rules of the table admit. PROTOCOL.md 4.4.

use super::specs::{DIAL, INPROXY, Spec};
use crate::packed::{Params, Value};
use crate::tunnel_protocol::TunnelProtocol;

/// The dial parameters of a handshake or of a record of a failed tunnel. Values that say nothing are left out rather than
/// sent as `0` or empty text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DialParams(Params);

/// A name that is no dial parameter: a mistake in our own code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bug: {name} is not a dial parameter")]
pub struct UnknownParam {
    /// The name.
    pub name: String,
}

impl DialParams {
    /// The parameters of a dial with a protocol.
    #[must_use]
    pub fn new(protocol: TunnelProtocol) -> Self {
        let mut params = Params::default();
        params.set("relay_protocol", protocol.name());
        Self(params)
    }

    /// Sets a text parameter, unless the text is empty.
    ///
    /// # Errors
    /// The table has no such dial parameter.
    pub fn set_text(&mut self, name: &str, text: &str) -> Result<(), UnknownParam> {
        self.set(name, (!text.is_empty()).then(|| text.into()))
    }

    /// Sets a number.
    ///
    /// # Errors
    /// As [`Self::set_text`].
    pub fn set_int(&mut self, name: &str, number: i64) -> Result<(), UnknownParam> {
        self.set(name, Some(number.to_string().into()))
    }

    /// Sets a number with six decimals.
    ///
    /// # Errors
    /// As [`Self::set_text`].
    pub fn set_float(&mut self, name: &str, number: f64) -> Result<(), UnknownParam> {
        self.set(name, Some(crate::go_number::fixed6(number).into()))
    }

    /// Sets a flag, if it is true.
    ///
    /// # Errors
    /// As [`Self::set_text`].
    pub fn set_flag(&mut self, name: &str, flag: bool) -> Result<(), UnknownParam> {
        self.set(name, flag.then(|| "1".into()))
    }

    /// Sets a list, unless it is empty.
    ///
    /// # Errors
    /// As [`Self::set_text`].
    pub fn set_list(&mut self, name: &str, list: Vec<String>) -> Result<(), UnknownParam> {
        self.set(name, (!list.is_empty()).then_some(Value::TextList(list)))
    }

    /// The dial parameters among those of a request that was validated.
    #[must_use]
    pub fn read(params: &Params) -> Self {
        let mut found = Params::default();
        for spec in specs().filter(|spec| !OF_THE_REQUEST.contains(&spec.name)) {
            if let Some(value) = params.get(spec.name) {
                found.set(spec.name, value.clone());
            }
        }
        Self(found)
    }

    /// Adds these parameters.
    pub fn write(&self, params: &mut Params) {
        params.extend(self.0.clone());
    }

    /// The protocol that was dialled, if it is one.
    #[must_use]
    pub fn protocol(&self) -> Option<TunnelProtocol> {
        self.0.text("relay_protocol")?.parse().ok()
    }

    /// All of them.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.0
    }

    fn set(&mut self, name: &str, value: Option<Value>) -> Result<(), UnknownParam> {
        if !specs().any(|spec| spec.name == name) {
            return Err(UnknownParam { name: name.to_owned() });
        }
        match value {
            Some(value) => self.0.set(name, value),
            None => {
                self.0.take(name);
            }
        }
        Ok(())
    }
}

/// Parameters that stand in the dial rules but belong to the request.
const OF_THE_REQUEST: [&str; 4] = ["padding", "pad_response", "split_tunnel", "split_tunnel_regions"];

fn specs() -> impl Iterator<Item = &'static Spec> {
    DIAL.iter().chain(&INPROXY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_and_telling_values() {
        let mut dial = DialParams::new(TunnelProtocol::OSSH);
        dial.set_flag("is_replay", false).unwrap();
        dial.set_flag("tls_fragmented", true).unwrap();
        dial.set_text("client_bpf", "").unwrap();
        dial.set_int("candidate_number", 0).unwrap();
        dial.set_float("network_latency_multiplier", 1.25).unwrap();
        dial.set_text("steering_ip", "192.0.2.1").unwrap();
        assert!(dial.set_text("sponsor_id", "x").is_err());
        let mut all = Params::default();
        dial.write(&mut all);
        assert_eq!(
            all.to_json(),
            r#"{"candidate_number":"0","network_latency_multiplier":"1.250000","relay_protocol":"OSSH","steering_ip":"192.0.2.1","tls_fragmented":"1"}"#
        );
        assert_eq!(DialParams::read(&all), dial);
        assert_eq!(dial.protocol(), Some(TunnelProtocol::OSSH));
    }
}
