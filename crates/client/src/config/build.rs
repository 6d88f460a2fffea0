//! Typed settings from the fields of a config file. Not rules between fields: see `rules.rs`.

use std::collections::BTreeSet;

use culvert_protocol::parameters::Parameters;
use culvert_protocol::server_entry::VerifyingKey;

use super::files;
use super::local::local;
use super::parameters;
use super::problem::Fault;
use super::read::Fields;
use super::upstream;
use super::{
    Api, ApiEncoding, Config, Establish, Identity, KeepAliveSettings, NoticeSettings, Secret, ServerChoice,
    SessionId, SshSettings, WindowMemory,
};
use crate::notice::{Detail, Topic};

/// Servers that are tried at a time.
const MOST_WORKERS: i64 = 1000;

/// Builds the settings; `None` when a required field is missing. Problems are noted in `fields`.
pub(super) fn config(fields: &mut Fields<'_>) -> Option<Config> {
    // Every part is built before the first missing one ends this, so that all problems are found in one go.
    let identity = identity(fields);
    let parameters = parameters::read(fields);
    let built = Config {
        local: local(fields),
        servers: servers(fields, &parameters),
        establish: establish(fields),
        api: api(fields),
        notices: notices(fields),
        network_id: fields.text("NetworkID").unwrap_or("UNKNOWN").to_owned(),
        upstream: upstream::read(fields),
        meek_headers: upstream::headers(fields, "MeekAdditionalHeaders").unwrap_or_default(),
        ssh: ssh(fields),
        parameters,
        data_root_directory: fields.text("DataRootDirectory").map(Into::into),
        old_paths: files::old_paths(fields),
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

fn servers(fields: &mut Fields<'_>, parameters: &Parameters) -> ServerChoice {
    ServerChoice {
        egress_region: region(fields, "EgressRegion"),
        target: fields.text("TargetServerEntry").map(|entry| Secret::new(entry.to_owned())),
        limit_protocols: parameters.limits.protocols.clone(),
        entry_signature_key: entry_signature_key(fields),
    }
}

fn entry_signature_key(fields: &mut Fields<'_>) -> Option<VerifyingKey> {
    const KEY: &str = "ServerEntrySignaturePublicKey";
    match VerifyingKey::from_base64(fields.text(KEY)?) {
        Ok(key) => Some(key),
        Err(_) => {
            fields.fault(KEY, Fault::Invalid { expected: "an Ed25519 public key, 32 bytes in base64" });
            None
        }
    }
}

fn establish(fields: &mut Fields<'_>) -> Establish {
    Establish {
        off: fields.switch("DisableConnectionWorkerPool"),
        replay_off: fields.switch("DisableReplay"),
        most_workers: fields
            .integer(
                "ConnectionWorkerPoolMaxSize",
                0..=MOST_WORKERS,
                "a number of servers, or 0 for no limit",
            )
            .filter(|most: &u32| *most > 0),
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

fn notices(fields: &mut Fields<'_>) -> NoticeSettings {
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
    NoticeSettings { detail, topics, files: files::notice_files(fields) }
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
        windows: match fields.switch("LimitRelayBufferSizes") {
            true => WindowMemory::Least,
            false => WindowMemory::Usual,
        },
        algorithms,
        keep_alive: KeepAliveSettings { periodic_off: fields.switch("DisablePeriodicSshKeepAlive") },
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
