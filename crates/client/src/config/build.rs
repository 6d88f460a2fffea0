//! Typed settings from the fields of a config file. Not rules between fields: see `rules.rs`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::json_position::near_name;
use serde_json::Value;

use super::local::local;
use super::parameters;
use super::problem::Fault;
use super::read::Fields;
use super::upstream;
use super::{
    Api, ApiEncoding, Config, Establish, Identity, KeepAliveSettings, NoticeSettings, Secret, ServerChoice,
    SessionId, SpanSettings, SshSettings,
};
use crate::notice::{Detail, Topic};

/// A year: longer times are mistakes.
const LONGEST_SECONDS: i64 = 366 * 24 * 3600;
/// The most padding that the reference puts into a keepalive request.
const MOST_KEEP_ALIVE_PADDING: i64 = 1 << 16;

/// Builds the settings; `None` when a required field is missing. Problems are noted in `fields`.
pub(super) fn config(fields: &mut Fields<'_>) -> Option<Config> {
    // Every part is built before the first missing one ends this, so that all problems are found in one go.
    let identity = identity(fields);
    let built = Config {
        local: local(fields),
        servers: servers(fields),
        establish: establish(fields),
        api: api(fields),
        notices: notices(fields),
        network_id: fields.text("NetworkID").unwrap_or("UNKNOWN").to_owned(),
        upstream: upstream::read(fields),
        ssh: ssh(fields),
        parameters: parameters::read(fields),
        data_root_directory: fields.text("DataRootDirectory").map(Into::into),
        identity: identity?,
    };
    Some(built)
}

fn identity(fields: &mut Fields<'_>) -> Option<Identity> {
    let channel =
        required(fields, "PropagationChannelId", "the ID of how this client was distributed, in hex");
    let sponsor = required(fields, "SponsorId", "the ID of the sponsor, in hex");
    let client_version = match fields.text("ClientVersion").map(|text| text.parse::<i64>()) {
        None => 0,
        Some(Ok(version)) => version,
        Some(Err(_)) => {
            fields.fault(
                "ClientVersion",
                Fault::Invalid { expected: "a whole number in quotes, such as \"1\"" },
            );
            0
        }
    };
    // The reference takes lowercase only, where its server takes both.
    let lowercase = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let session_id =
        fields.text("SessionID").map(|text| SessionId::parse(text).ok().filter(|_| lowercase(text)));
    if matches!(session_id, Some(None)) {
        fields.fault("SessionID", Fault::Invalid { expected: "32 lowercase hex digits" });
    }
    Some(Identity {
        client_version,
        client_platform: owned(fields, "ClientPlatform"),
        client_features: fields.texts("ClientFeatures"),
        device_region: region(fields, "DeviceRegion"),
        device_location: owned(fields, "DeviceLocation"),
        session_id: session_id.flatten(),
        authorizations: fields.texts("Authorizations").into_iter().map(Secret::new).collect(),
        propagation_channel_id: channel?,
        sponsor_id: sponsor?,
    })
}

fn servers(fields: &mut Fields<'_>) -> ServerChoice {
    let mut limit_protocols = protocols(fields, "LimitTunnelProtocols");
    if limit_protocols.is_empty() {
        // The deprecated form with a single name.
        limit_protocols =
            fields.text("TunnelProtocol").and_then(|name| name.parse().ok()).into_iter().collect();
        if limit_protocols.is_empty()
            && let Some(name) = fields.text("TunnelProtocol").map(str::to_owned)
        {
            fields.fault("TunnelProtocol", unknown_protocol(name));
        }
    }
    ServerChoice {
        egress_region: region(fields, "EgressRegion"),
        target: fields.text("TargetServerEntry").map(|entry| Secret::new(entry.to_owned())),
        limit_protocols,
        entry_signature_key: fields.text("ServerEntrySignaturePublicKey").map(str::to_owned),
    }
}

fn protocols(fields: &mut Fields<'_>, list: &'static str) -> Vec<TunnelProtocol> {
    let mut known = Vec::new();
    for (index, name) in fields.texts(list).into_iter().enumerate() {
        match name.parse() {
            Ok(protocol) => known.push(protocol),
            Err(_) => fields.fault_at(list, &[index.into()], unknown_protocol(name)),
        }
    }
    known
}

fn unknown_protocol(name: String) -> Fault {
    let near = near_name(&name, TunnelProtocol::all().map(TunnelProtocol::name));
    Fault::UnknownProtocol { name, near }
}

fn establish(fields: &mut Fields<'_>) -> Establish {
    let timeout = seconds(fields, "EstablishTunnelTimeoutSeconds").unwrap_or(Duration::from_secs(300));
    let multiplier = fields.value("NetworkLatencyMultiplier").and_then(Value::as_f64).filter(|m| *m != 0.0);
    if let Some(given) = multiplier.filter(|m| !(1.0..=100.0).contains(m)) {
        let expected = "a factor from 1.0 to 100.0, or 0 for off";
        fields.fault("NetworkLatencyMultiplier", Fault::OutOfRange { expected, found: given.to_string() });
    }
    Establish {
        timeout: (!timeout.is_zero()).then_some(timeout),
        pause: seconds(fields, "EstablishTunnelPausePeriodSeconds").unwrap_or(Duration::from_secs(2)),
        connect_timeout: seconds(fields, "TunnelConnectTimeoutSeconds"),
        latency_multiplier: multiplier,
    }
}

fn api(fields: &mut Fields<'_>) -> Api {
    let encoding = match fields.text("TargetAPIEncoding") {
        None | Some("cbor") => ApiEncoding::Cbor,
        Some("json") => ApiEncoding::Json,
        Some(_) => {
            fields.fault("TargetAPIEncoding", Fault::Invalid { expected: "\"json\" or \"cbor\"" });
            ApiEncoding::Cbor
        }
    };
    match fields.text("TargetAPIProtocol") {
        None | Some("ssh") => {}
        Some("web") => fields.fault("TargetAPIProtocol", Fault::NotSupported),
        Some(_) => fields.fault("TargetAPIProtocol", Fault::Invalid { expected: "\"ssh\"" }),
    }
    Api { enabled: !fields.switch("DisableApi"), encoding }
}

fn notices(fields: &Fields<'_>) -> NoticeSettings {
    let detail =
        match (fields.switch("EmitDiagnosticNotices"), fields.switch("EmitDiagnosticNetworkParameters")) {
            (false, _) => Detail::User,
            (true, false) => Detail::Diagnostic,
            (true, true) => Detail::NetworkDiagnostic,
        };
    let topics = [
        ("EmitBytesTransferred", Topic::BytesTransferred),
        ("EmitClientAddress", Topic::ClientAddress),
        ("EmitServerAlerts", Topic::ServerAlerts),
    ];
    let topics: BTreeSet<Topic> =
        topics.into_iter().filter(|(name, _)| fields.switch(name)).map(|(_, topic)| topic).collect();
    NoticeSettings { detail, topics }
}

fn ssh(fields: &mut Fields<'_>) -> SshSettings {
    let algorithms = fields.texts("ObfuscatedSSHAlgorithms");
    let algorithms = match <[String; 4]>::try_from(algorithms) {
        Ok(four) => Some(four),
        Err(none) if none.is_empty() => None,
        Err(_) => {
            let expected = "exactly four names: key exchange, cipher, MAC, host key";
            fields.fault("ObfuscatedSSHAlgorithms", Fault::Invalid { expected });
            None
        }
    };
    SshSettings {
        any_cipher: fields.switch("SSHAnyCipher"),
        optimistic_open_off: fields.switch("DisableOptimisticOpen"),
        rekey_bytes: fields
            .integer("SSHRekeyBytes", 65_536..=1 << 40, "65536 bytes to 1 TiB")
            .and_then(|bytes: i64| u64::try_from(bytes).ok()),
        channel_window_packets: fields.integer("SSHChannelWindowSize", 1..=128, "1 to 128 packets of 32 KiB"),
        algorithms,
        keep_alive: keep_alive(fields),
    }
}

fn keep_alive(fields: &mut Fields<'_>) -> KeepAliveSettings {
    KeepAliveSettings {
        periodic_off: fields.switch("DisablePeriodicSshKeepAlive"),
        period: times(fields, ["SSHKeepAlivePeriodMinMilliseconds", "SSHKeepAlivePeriodMaxMilliseconds"]),
        periodic_timeout: millis(fields, "SSHKeepAlivePeriodicTimeoutMilliseconds"),
        periodic_inactive: millis(fields, "SSHKeepAlivePeriodicInactivePeriodMilliseconds"),
        probe_timeout: millis(fields, "SSHKeepAliveProbeTimeoutMilliseconds"),
        probe_inactive: millis(fields, "SSHKeepAliveProbeInactivePeriodMilliseconds"),
        connectivity_poll: millis(fields, "SSHKeepAliveNetworkConnectivityPollingPeriodMilliseconds"),
        padding: sizes(
            fields,
            ["SSHKeepAlivePaddingMinBytes", "SSHKeepAlivePaddingMaxBytes"],
            0..=MOST_KEEP_ALIVE_PADDING,
            "0 to 65536 bytes",
        ),
        speed_test_probability: fields.probability("SSHKeepAliveSpeedTestSampleProbability"),
        reset_on_failure_probability: fields.probability("SSHKeepAliveResetOnFailureProbability"),
        resume_probe_timeout: millis(fields, "SSHKeepAliveResumeProbeTimeoutMilliseconds"),
        resume_probe_inactive: millis(fields, "SSHKeepAliveResumeProbeInactivePeriodMilliseconds"),
        resume_reconnect_inactive: millis(fields, "SSHKeepAliveResumeReconnectInactivePeriodMilliseconds"),
    }
}

fn required(fields: &mut Fields<'_>, name: &'static str, need: &'static str) -> Option<String> {
    let given = fields.text(name).map(str::to_owned);
    if given.is_none() && !fields.has_error(name) {
        fields.fault(name, Fault::Missing { need });
    }
    given
}

fn owned(fields: &Fields<'_>, name: &'static str) -> String {
    fields.text(name).unwrap_or_default().to_owned()
}

fn region(fields: &mut Fields<'_>, name: &'static str) -> String {
    let region = owned(fields, name);
    let code = region.len() == 2 && region.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !region.is_empty() && !code {
        fields.fault(
            name,
            Fault::Invalid { expected: "a two-letter country code in capitals, such as \"CA\"" },
        );
    }
    region
}

fn seconds(fields: &mut Fields<'_>, name: &'static str) -> Option<Duration> {
    fields.integer(name, 0..=LONGEST_SECONDS, "seconds, from 0 to a year").map(Duration::from_secs)
}

fn millis(fields: &mut Fields<'_>, name: &'static str) -> Option<Duration> {
    let expected = "milliseconds, from 0 to a year";
    fields.integer(name, 0..=LONGEST_SECONDS * 1000, expected).map(Duration::from_millis)
}

fn times(fields: &mut Fields<'_>, [least, most]: [&'static str; 2]) -> SpanSettings<Duration> {
    let span = SpanSettings { least: millis(fields, least), most: millis(fields, most) };
    in_order(fields, [least, most], span)
}

fn sizes(
    fields: &mut Fields<'_>,
    [least, most]: [&'static str; 2],
    within: RangeInclusive<i64>,
    expected: &'static str,
) -> SpanSettings<u32> {
    let span = SpanSettings {
        least: fields.integer(least, within.clone(), expected),
        most: fields.integer(most, within, expected),
    };
    in_order(fields, [least, most], span)
}

fn in_order<T: PartialOrd + Copy>(
    fields: &mut Fields<'_>,
    [_, most]: [&'static str; 2],
    span: SpanSettings<T>,
) -> SpanSettings<T> {
    if let (Some(low), Some(high)) = (span.least, span.most)
        && low > high
    {
        fields.fault(most, Fault::Invalid { expected: "a value not below the matching minimum" });
    }
    span
}
