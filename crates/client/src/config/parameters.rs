//! Parameters in a config file: the object `Parameters`, which names them as tactics do, and the older keys that each set
//! one. Not what parameters there are: see `culvert_protocol::parameters`.

use std::collections::BTreeMap;

use culvert_protocol::json_position::Step;
use culvert_protocol::parameters::{OverrideError, Parameters};
use serde_json::Value;

use super::problem::Fault;
use super::read::Fields;

/// The key of the object.
const OBJECT: &str = "Parameters";

/// How an older key's value becomes the parameter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// As it stands.
    Same,
    Microseconds,
    Milliseconds,
}

use Unit::{Microseconds, Milliseconds, Same};

/// Older keys: the parameter that each sets, and the unit that the key's name says.
#[rustfmt::skip]
const KEYS: &[(&str, &str, Unit)] = &[
    ("CustomHostNameLimitProtocols", "CustomHostNameLimitProtocols", Same),
    ("CustomHostNameProbability", "CustomHostNameProbability", Same),
    ("CustomHostNameRegexes", "CustomHostNameRegexes", Same),
    ("CustomTLSProfiles", "CustomTLSProfiles", Same),
    ("DirectHTTPProtocolTransformProbability", "DirectHTTPProtocolTransformProbability", Same),
    ("DirectHTTPProtocolTransformScopedSpecNames", "DirectHTTPProtocolTransformScopedSpecNames", Same),
    ("DirectHTTPProtocolTransformSpecs", "DirectHTTPProtocolTransformSpecs", Same),
    ("DisableFrontingProviderTLSProfiles", "DisableFrontingProviderTLSProfiles", Same),
    ("FragmentorLimitProtocols", "FragmentorLimitProtocols", Same),
    ("FragmentorMaxDelayMicroseconds", "FragmentorMaxDelay", Microseconds),
    ("FragmentorMaxTotalBytes", "FragmentorMaxTotalBytes", Same),
    ("FragmentorMaxWriteBytes", "FragmentorMaxWriteBytes", Same),
    ("FragmentorMinDelayMicroseconds", "FragmentorMinDelay", Microseconds),
    ("FragmentorMinTotalBytes", "FragmentorMinTotalBytes", Same),
    ("FragmentorMinWriteBytes", "FragmentorMinWriteBytes", Same),
    ("FragmentorProbability", "FragmentorProbability", Same),
    ("FrontedHTTPProtocolTransformProbability", "FrontedHTTPProtocolTransformProbability", Same),
    ("FrontedHTTPProtocolTransformScopedSpecNames", "FrontedHTTPProtocolTransformScopedSpecNames", Same),
    ("FrontedHTTPProtocolTransformSpecs", "FrontedHTTPProtocolTransformSpecs", Same),
    ("LimitQUICVersions", "LimitQUICVersions", Same),
    ("LimitTLSProfiles", "LimitTLSProfiles", Same),
    ("MeekAlternateContentTypeProbability", "MeekAlternateContentTypeProbability", Same),
    ("MeekAlternateCookieNameProbability", "MeekAlternateCookieNameProbability", Same),
    ("MeekMaxLimitRequestPayloadLength", "MeekMaxLimitRequestPayloadLength", Same),
    ("MeekMaxTLSPadding", "MeekMaxTLSPadding", Same),
    ("MeekMinLimitRequestPayloadLength", "MeekMinLimitRequestPayloadLength", Same),
    ("MeekMinTLSPadding", "MeekMinTLSPadding", Same),
    ("MeekPayloadPaddingMaxSize", "MeekPayloadPaddingClientMaxSize", Same),
    ("MeekPayloadPaddingMinSize", "MeekPayloadPaddingClientMinSize", Same),
    ("MeekPayloadPaddingOmitProbability", "MeekPayloadPaddingClientOmitProbability", Same),
    ("MeekPayloadPaddingProbability", "MeekPayloadPaddingProbability", Same),
    ("MeekRedialTLSProbability", "MeekRedialTLSProbability", Same),
    ("MeekTrafficShapingLimitProtocols", "MeekTrafficShapingLimitProtocols", Same),
    ("MeekTrafficShapingProbability", "MeekTrafficShapingProbability", Same),
    ("NoDefaultTLSSessionIDProbability", "NoDefaultTLSSessionIDProbability", Same),
    ("OSSHObfuscatorSeedTransformProbability", "OSSHObfuscatorSeedTransformProbability", Same),
    ("OSSHObfuscatorSeedTransformScopedSpecNames", "OSSHObfuscatorSeedTransformScopedSpecNames", Same),
    ("OSSHObfuscatorSeedTransformSpecs", "OSSHObfuscatorSeedTransformSpecs", Same),
    ("OSSHPrefixEnableFragmentor", "OSSHPrefixEnableFragmentor", Same),
    ("OSSHPrefixProbability", "OSSHPrefixProbability", Same),
    ("OSSHPrefixScopedSpecNames", "OSSHPrefixScopedSpecNames", Same),
    ("OSSHPrefixSpecs", "OSSHPrefixSpecs", Same),
    ("OSSHPrefixSplitMaxDelayMilliseconds", "OSSHPrefixSplitMaxDelay", Milliseconds),
    ("OSSHPrefixSplitMinDelayMilliseconds", "OSSHPrefixSplitMinDelay", Milliseconds),
    ("ObfuscatedQUICNonceTransformProbability", "ObfuscatedQUICNonceTransformProbability", Same),
    ("ObfuscatedQUICNonceTransformScopedSpecNames", "ObfuscatedQUICNonceTransformScopedSpecNames", Same),
    ("ObfuscatedQUICNonceTransformSpecs", "ObfuscatedQUICNonceTransformSpecs", Same),
    ("ObfuscatedSSHMaxPadding", "ObfuscatedSSHMaxPadding", Same),
    ("ObfuscatedSSHMinPadding", "ObfuscatedSSHMinPadding", Same),
    ("PickUserAgentProbability", "PickUserAgentProbability", Same),
    ("QUICDialEarlyProbability", "QUICDialEarlyProbability", Same),
    ("QUICDisablePathMTUDiscoveryProbability", "QUICDisableClientPathMTUDiscoveryProbability", Same),
    ("QUICObfuscatedPSKProbability", "QUICObfuscatedPSKProbability", Same),
    ("SelectRandomizedTLSProfileProbability", "SelectRandomizedTLSProfileProbability", Same),
    ("ShadowsocksPrefixProbability", "ShadowsocksPrefixProbability", Same),
    ("ShadowsocksPrefixScopedSpecNames", "ShadowsocksPrefixScopedSpecNames", Same),
    ("ShadowsocksPrefixSpecs", "ShadowsocksPrefixSpecs", Same),
    ("TLSFragmentClientHelloLimitProtocols", "TLSFragmentClientHelloLimitProtocols", Same),
    ("TLSFragmentClientHelloProbability", "TLSFragmentClientHelloProbability", Same),
    ("TLSTunnelMaxTLSPadding", "TLSTunnelMaxTLSPadding", Same),
    ("TLSTunnelMinTLSPadding", "TLSTunnelMinTLSPadding", Same),
    ("TLSTunnelObfuscatedPSKProbability", "TLSTunnelObfuscatedPSKProbability", Same),
    ("TLSTunnelTrafficShapingProbability", "TLSTunnelTrafficShapingProbability", Same),
    ("TransformHostNameProbability", "TransformHostNameProbability", Same),
    ("UseOnlyCustomTLSProfiles", "UseOnlyCustomTLSProfiles", Same),
];

/// The parameters of a config. The object wins over an older key.
pub(super) fn read(fields: &mut Fields<'_>) -> Parameters {
    let mut parameters = Parameters::default();
    // Where each override stands, for what only shows when all are known.
    let mut places: BTreeMap<String, (&'static str, Vec<Step>)> = BTreeMap::new();
    for &(key, name, unit) in KEYS {
        let Some(value) = fields.value(key).map(|value| unit.apply(value)) else { continue };
        places.insert(name.to_owned(), (key, Vec::new()));
        note(fields, &places, parameters.set(name, &value).err());
    }
    let object = fields.value(OBJECT).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in &object {
        places.insert(name.clone(), (OBJECT, vec![name.as_str().into()]));
        note(fields, &places, parameters.set(name, value).err());
    }
    note(fields, &places, parameters.check());
    parameters
}

fn note(
    fields: &mut Fields<'_>,
    places: &BTreeMap<String, (&'static str, Vec<Step>)>,
    errors: impl IntoIterator<Item = OverrideError>,
) {
    for error in errors {
        // A rule may be broken at a parameter that was left at its default.
        let (key, inside) =
            places.get(&error.name).cloned().unwrap_or((OBJECT, vec![error.name.as_str().into()]));
        fields.fault_at(key, &[inside, error.inside].concat(), Fault::Parameter(error.fault));
    }
}

impl Unit {
    fn apply(self, value: &Value) -> Value {
        match self {
            Same => value.clone(),
            Microseconds => format!("{value}us").into(),
            Milliseconds => format!("{value}ms").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{self, Use};

    #[test]
    fn every_key_is_known_and_sets_a_parameter() {
        let table = Parameters::table();
        for (key, parameter, _) in KEYS {
            let key = keys::exact(key).unwrap_or_else(|| panic!("{key} is no key"));
            assert_eq!(key.used, Use::Now, "{}", key.name);
            assert!(table.iter().any(|row| row.name == *parameter), "{parameter}");
        }
    }
}
