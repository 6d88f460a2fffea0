//! Parameters in a config file: the object `Parameters`, which names them as tactics do, and the older keys that set one
//! each. Not what parameters there are: see `culvert_protocol::parameters`.
//!
//! An older key is named like its parameter. Where the parameter is a time, the key ends in the unit of its number. The few
//! that are named otherwise are in [`RENAMED`].

use std::collections::{BTreeMap, BTreeSet};

use culvert_protocol::json_position::Step;
use culvert_protocol::parameters::{OverrideError, Parameters};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::keys::KEYS;
use super::problem::Fault;
use super::read::{Fields, is_empty};

/// The key of the object.
pub(super) const OBJECT: &str = "Parameters";

/// How an older key's value becomes the parameter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it stands.
    Same,
    /// A number of these.
    Unit(&'static str),
    /// The only item of a list.
    One,
    /// The only URL of a list, in clear.
    OneUrl,
}

use Form::{One, OneUrl, Same, Unit};

/// The ends of keys that say what their numbers are.
const UNITS: [(&str, &str); 3] = [("Microseconds", "us"), ("Milliseconds", "ms"), ("Seconds", "s")];

/// Keys that are not named like the parameters that they set. A key further below wins over one above.
const RENAMED: &[(&str, &[&str], Form)] = &[
    ("TunnelProtocol", &["LimitTunnelProtocols"], One),
    ("RemoteServerListUrl", &["RemoteServerListURLs"], OneUrl),
    ("ObfuscatedServerListRootURL", &["ObfuscatedServerListRootURLs"], OneUrl),
    ("UpgradeDownloadUrl", &["UpgradeDownloadURLs"], OneUrl),
    (
        // A factor that is given is not drawn.
        "NetworkLatencyMultiplier",
        &["NetworkLatencyMultiplier", "NetworkLatencyMultiplierMin", "NetworkLatencyMultiplierMax"],
        Same,
    ),
    ("StaggerConnectionWorkersMilliseconds", &["StaggerConnectionWorkersPeriod"], Unit("ms")),
    ("LimitMeekBufferSizes", &["MeekLimitBufferSizes"], Same),
    ("RateLimits", &["TunnelRateLimits"], Same),
    ("MeekPayloadPaddingMinSize", &["MeekPayloadPaddingClientMinSize"], Same),
    ("MeekPayloadPaddingMaxSize", &["MeekPayloadPaddingClientMaxSize"], Same),
    ("MeekPayloadPaddingOmitProbability", &["MeekPayloadPaddingClientOmitProbability"], Same),
    ("QUICDisablePathMTUDiscoveryProbability", &["QUICDisableClientPathMTUDiscoveryProbability"], Same),
];

/// Keys whose 0 means that they are not set.
const ZERO_IS_UNSET: &[&str] = &[
    "NetworkLatencyMultiplier",
    "NetworkLatencyMultiplierMin",
    "NetworkLatencyMultiplierMax",
    "NetworkLatencyMultiplierLambda",
    "ConnectionWorkerPoolSize",
    "TunnelPoolSize",
    "InproxyPersonalPairingConnectionWorkerPoolSize",
    "LightProxyPersonalPairingConnectionWorkerPoolSize",
];

/// Keys that have no effect unless a switch is on, or while one is.
const ONLY_WHEN: &[(&str, &str, bool)] = &[
    ("RemoteServerListURLs", "DisableRemoteServerListFetcher", false),
    ("RemoteServerListUrl", "DisableRemoteServerListFetcher", false),
    ("ObfuscatedServerListRootURLs", "DisableRemoteServerListFetcher", false),
    ("ObfuscatedServerListRootURL", "DisableRemoteServerListFetcher", false),
    ("UpgradeDownloadURLs", "EnableUpgradeDownload", true),
    ("UpgradeDownloadUrl", "EnableUpgradeDownload", true),
    ("UpgradeDownloadClientVersionHeader", "EnableUpgradeDownload", true),
    ("FeedbackUploadURLs", "EnableFeedbackUpload", true),
    ("FeedbackEncryptionPublicKey", "EnableFeedbackUpload", true),
];

/// What one older key does.
struct Setting {
    key: &'static str,
    parameters: Vec<String>,
    form: Form,
}

/// The parameters of a config. The object wins over an older key.
pub(super) fn read(fields: &mut Fields<'_>) -> Parameters {
    let mut parameters = Parameters::default();
    // Where each override stands, for what only shows when all are known.
    let mut places: BTreeMap<String, (&'static str, Vec<Step>)> = BTreeMap::new();
    for Setting { key, parameters: names, form } in settings() {
        if !has_effect(fields, key) {
            continue;
        }
        let Some(value) = fields.value(key).map(|value| form.apply(value)) else { continue };
        let mut errors = Vec::new();
        for name in names {
            errors.extend(parameters.set(&name, &value).err());
            places.insert(name, (key, Vec::new()));
        }
        // One value that is wrong for several parameters is one mistake.
        errors.truncate(1);
        if matches!(form, One | OneUrl) {
            errors.iter_mut().for_each(|error| error.inside.clear());
        }
        note(fields, &places, errors);
    }
    let object = fields.value(OBJECT).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in &object {
        places.insert(name.clone(), (OBJECT, vec![name.as_str().into()]));
        note(fields, &places, parameters.set(name, value).err());
    }
    note(fields, &places, parameters.check());
    parameters
}

/// The parameter that each older key sets; the first where it sets several.
pub(super) fn set_by_key() -> BTreeMap<&'static str, String> {
    settings().into_iter().filter_map(|set| Some((set.key, set.parameters.into_iter().next()?))).collect()
}

/// The older keys, those first that others win over.
fn settings() -> Vec<Setting> {
    let names: BTreeSet<_> = Parameters::names().into_iter().collect();
    let renamed = RENAMED.iter().map(|(key, parameters, form)| Setting {
        key,
        parameters: parameters.iter().map(|name| (*name).to_owned()).collect(),
        form: *form,
    });
    let by_name = KEYS.iter().filter(|key| RENAMED.iter().all(|(renamed, ..)| *renamed != key.name));
    let by_name = by_name.filter_map(|key| {
        let (name, form) = named_alike(key.name, |name| names.contains(name))?;
        Some(Setting { key: key.name, parameters: vec![name.to_owned()], form })
    });
    renamed.chain(by_name).collect()
}

/// The parameter that a key is named like.
fn named_alike(key: &'static str, exists: impl Fn(&str) -> bool) -> Option<(&'static str, Form)> {
    if exists(key) {
        return Some((key, Same));
    }
    let in_unit = |(end, unit)| Some((key.strip_suffix(end).filter(|name| exists(name))?, Unit(unit)));
    UNITS.into_iter().find_map(in_unit)
}

fn has_effect(fields: &Fields<'_>, key: &'static str) -> bool {
    let unset = |value: &Value| is_empty(value) && (!value.is_number() || ZERO_IS_UNSET.contains(&key));
    let mut switches = ONLY_WHEN.iter().filter(|(name, ..)| *name == key);
    // An explicit false is a value, where an empty text or list is none.
    fields.value(key).is_some_and(|value| value.is_boolean() || !unset(value))
        && switches.all(|(_, switch, on)| fields.switch(switch) == *on)
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

impl Form {
    fn apply(self, value: &Value) -> Value {
        match self {
            Same => value.clone(),
            Unit(unit) => format!("{value}{unit}").into(),
            One => json!([value]),
            OneUrl => json!([{"URL": BASE64.encode(value.as_str().unwrap_or_default().as_bytes())}]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::keys::{self, Use};
    use crate::config::parse;

    fn parameters(fields: &str) -> Parameters {
        let text = format!("{{\"PropagationChannelId\": \"0\", \"SponsorId\": \"0\", {fields}}}");
        parse("c", &text).unwrap().config.parameters
    }

    #[test]
    fn renamed_keys_exist_and_so_do_their_parameters() {
        let names: BTreeSet<_> = Parameters::names().into_iter().collect();
        for (key, parameters, _) in RENAMED {
            assert!(keys::exact(key).is_some(), "{key}");
            assert!(parameters.iter().all(|name| names.contains(*name)), "{parameters:?}");
            let alike = named_alike(key, |name| names.contains(name)).map(|(name, _)| name);
            assert!(alike.is_none_or(|alike| [alike] != **parameters), "{key} needs no name here");
        }
        let listed = ZERO_IS_UNSET.iter().chain(ONLY_WHEN.iter().flat_map(|(key, switch, _)| [key, switch]));
        for key in listed {
            assert!(keys::exact(key).is_some(), "{key}");
        }
    }

    /// Keys for test rigs exist to set parameters; these are the only ones that do something else.
    const NO_PARAMETER: [&str; 6] = [
        "ObfuscatedSSHAlgorithms",
        "AdditionalParameters",
        "InproxyAllowClient",
        "InproxySkipAwaitFullyConnected",
        "InproxyEnableWebRTCDebugLogging",
        "LightProxyTestFetchAddress",
    ];

    #[test]
    fn every_key_of_test_rigs_sets_a_parameter() {
        let set: BTreeSet<&str> = settings().into_iter().map(|setting| setting.key).collect();
        assert!(set.len() > 280, "{}", set.len());
        let first = KEYS.iter().position(|key| key.name == "TransformHostNameProbability").unwrap();
        for key in &KEYS[first..] {
            assert_eq!(set.contains(key.name), !NO_PARAMETER.contains(&key.name), "{}", key.name);
        }
        for name in NO_PARAMETER {
            assert!(
                keys::exact(name)
                    .is_some_and(|key| key.name == "ObfuscatedSSHAlgorithms" || key.used != Use::Now),
                "{name}"
            );
        }
    }

    #[test]
    fn values_arrive_in_their_units() {
        let set = parameters(
            r#""EstablishTunnelTimeoutSeconds": 0, "DNSResolverRequestTimeoutMilliseconds": 700, "TunnelPoolSize": 0,
            "FragmentorMaxDelayMicroseconds": 1500, "StaggerConnectionWorkersMilliseconds": 20,
            "NetworkLatencyMultiplier": 2.5, "InproxyAllowProxy": true, "ReplaySSH": null,
            "ConnectionWorkerPoolSize": 3, "TunnelProtocol": "SSH", "RateLimits": {"WriteBytesPerSecond": 5},
            "ReplayCandidateCount": 0, "Parameters": {"ConnectionWorkerPoolSize": 4}"#,
        );
        assert_eq!(set.establish.timeout, Duration::ZERO);
        assert_eq!(set.resolver.request_timeout.scaled(1.0), Duration::from_millis(700));
        assert_eq!(set.establish.tunnel_pool_size, 1);
        assert_eq!(set.fragmentor.max_delay, Duration::from_micros(1500));
        assert_eq!(set.establish.stagger_period, Duration::from_millis(20));
        assert_eq!((set.latency.multiplier, set.latency.multiplier_min), (Some(2.5), 2.5));
        assert!(set.inproxy.allow_proxy);
        assert_eq!(set.establish.worker_pool_size, 4, "the object wins");
        assert_eq!(set.limits.protocols, ["SSH".parse().unwrap()]);
        assert_eq!(set.tunnel.rate_limits.write_bytes_per_second, 5);
        assert_eq!(set.replay.candidate_count, culvert_protocol::parameters::AtMost::Of(0));
    }

    #[test]
    fn what_depends_on_a_switch_does() {
        let list =
            r#""RemoteServerListUrl": "https://example.org/", "RemoteServerListSignaturePublicKey": "k""#;
        assert_eq!(parameters(list).remote_lists.urls[0].url, "https://example.org/");
        let off = format!("{list}, \"DisableRemoteServerListFetcher\": true");
        assert_eq!(parameters(&off).remote_lists.urls, []);
        let header = "\"UpgradeDownloadClientVersionHeader\": \"x\"";
        assert_eq!(parameters(header).upgrade.client_version_header, "");
    }
}
