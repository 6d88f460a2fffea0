//! Every event that the client reports, as typed data. The names and fields are the interface that host programs parse
//! and must not change. Not how events are written: see `sink.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_protocol::server_entry::diagnostic_id;
use serde::{Serialize, Serializer};

use super::redact::FreeText;

/// One event. Serialized as `noticeType` (the variant's name) and `data` (its fields).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "noticeType", content = "data")]
pub enum Notice {
    /// The authorizations that the server accepted.
    ActiveAuthorizationIDs {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        #[serde(rename = "IDs")]
        ids: Vec<String>,
    },
    /// A tunnel that now carries flows.
    ActiveTunnel {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        protocol: String,
    },
    /// Parameters for the host program, from tactics.
    ApplicationParameters {
        parameters: serde_json::Map<String, serde_json::Value>,
    },
    /// Sorted country codes.
    AvailableEgressRegions {
        regions: Vec<String>,
    },
    /// The versions of this build.
    BuildInfo {
        #[serde(rename = "buildInfo")]
        build_info: BuildInfo,
    },
    /// Traffic since the last such notice.
    BytesTransferred {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        sent: u64,
        received: u64,
    },
    /// What establishing a tunnel can choose from.
    CandidateServers(CandidateServers),
    /// The client's address as the server sees it; shown to the user only.
    ClientAddress {
        address: String,
    },
    ClientIsLatestVersion {
        #[serde(rename = "availableVersion")]
        available_version: String,
    },
    ClientRegion {
        region: String,
    },
    ClientUpgradeAvailable {
        version: String,
    },
    /// Something in the config that is probably a mistake; always shown.
    #[serde(rename = "Warning")]
    ConfigWarning {
        message: FreeText,
    },
    ConnectedServer(Box<DialDetails>),
    ConnectedServerRegion {
        #[serde(rename = "serverRegion")]
        server_region: String,
    },
    ConnectingServer(Box<DialDetails>),
    Error {
        message: FreeText,
    },
    /// No tunnel within the configured time; `timeout` in the form "5m0s".
    EstablishTunnelTimeout {
        #[serde(serialize_with = "as_text")]
        timeout: Duration,
    },
    /// The last notice of a run.
    Exiting {},
    /// Why a run ends, in plain words; always shown.
    #[serde(rename = "Error")]
    Fatal {
        message: FreeText,
    },
    /// A tunnel that waits before it is used.
    HoldOffTunnel {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        #[serde(serialize_with = "as_text")]
        duration: Duration,
    },
    Homepage {
        url: FreeText,
    },
    HttpProxyPortInUse(PortInUse),
    Info {
        message: FreeText,
    },
    /// A notice could not be written.
    InternalError {
        message: FreeText,
    },
    ListeningHttpProxyPort {
        port: u16,
    },
    ListeningHttpProxyUnixPath {
        path: String,
    },
    ListeningSocksProxyPort {
        port: u16,
    },
    ListeningSocksProxyUnixPath {
        path: String,
    },
    LocalProxyError {
        message: FreeText,
    },
    NetworkID {
        #[serde(rename = "ID")]
        id: String,
    },
    ServerAlert {
        reason: FreeText,
        subject: FreeText,
        #[serde(rename = "actionURLs")]
        action_urls: Vec<FreeText>,
    },
    /// A server that is no more, by the word of another.
    PruneServerEntry {
        #[serde(rename = "serverEntryTag")]
        server_entry_tag: String,
    },
    /// The server's time when it answered, RFC 3339.
    ServerTimestamp {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        timestamp: String,
    },
    SessionId {
        #[serde(rename = "sessionId")]
        session_id: String,
    },
    /// A server that cannot be used, and why.
    SkipServerEntry {
        reason: FreeText,
    },
    SocksProxyPortInUse(PortInUse),
    /// Traffic of a whole tunnel.
    TotalBytesTransferred {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        sent: u64,
        received: u64,
    },
    /// Limits that the server applies; 0 is none.
    TrafficRateLimits {
        #[serde(rename = "diagnosticID")]
        diagnostic_id: DiagnosticId,
        #[serde(rename = "upstreamBytesPerSecond")]
        upstream_bytes_per_second: i64,
        #[serde(rename = "downstreamBytesPerSecond")]
        downstream_bytes_per_second: i64,
    },
    /// How many tunnels carry flows; 0 is "not connected".
    Tunnels {
        count: u32,
    },
    UpstreamProxyError {
        message: FreeText,
    },
    Warning {
        message: FreeText,
    },
}

/// Who may see a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone, always.
    User,
    /// Whoever asked for this topic.
    Subscriber(Topic),
    /// Whoever switched diagnostics on.
    Diagnostic,
}

/// A notice that is off unless asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    BytesTransferred,
    ClientAddress,
    ServerAlerts,
}

/// How much a client says, from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    #[default]
    User,
    Diagnostic,
    /// Also the parameters that tell how censorship is circumvented.
    NetworkDiagnostic,
}

/// What repeats of a notice are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Shown,
    /// The same as the last one of its type is left out.
    LastSuppressed,
    /// Whatever was shown once is left out.
    AllSuppressed,
}

/// A short public name for a server in notices: the beginning of its tag. Never an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DiagnosticId(String);

impl DiagnosticId {
    pub fn from_tag(tag: &str) -> Self {
        Self(diagnostic_id(tag).to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A local port that another program holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortInUse {
    pub port: u16,
    /// Who holds it, when the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// The versions of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    pub build_date: String,
    pub build_repo: String,
    pub build_rev: String,
    /// The compiler; the name is the reference's.
    pub go_version: String,
    pub values_rev: String,
}

/// What establishing a tunnel can choose from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateServers {
    pub region: String,
    pub initial_limit_tunnel_protocols: Vec<String>,
    pub initial_limit_tunnel_protocols_candidate_count: u32,
    pub limit_tunnel_protocols: Vec<String>,
    pub limit_tunnel_dial_port_numbers: BTreeMap<String, Vec<u16>>,
    pub replay_candidate_count: u32,
    pub initial_count: u32,
    pub count: u32,
    #[serde(serialize_with = "as_text")]
    pub duration: Duration,
}

/// One attempt to connect.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DialDetails {
    #[serde(rename = "diagnosticID")]
    pub diagnostic_id: DiagnosticId,
    pub region: String,
    pub protocol: String,
    pub candidate_number: u32,
    pub unique_candidate_estimate: u32,
    pub first_fronted_meek_candidate: u32,
    pub candidates_moved_to_front: u32,
    pub established_tunnels_count: u32,
    pub network_type: String,
    #[serde(flatten)]
    pub origin: DialOrigin,
    /// Present only for [`Detail::NetworkDiagnostic`]; taken out for others when the notice is emitted.
    #[serde(flatten)]
    pub network: Option<DialNetworkDetails>,
}

/// Where the choices of an attempt came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "OriginFlags")]
pub enum DialOrigin {
    Fresh,
    Replay,
    /// Replay of choices that were made under other settings.
    ReplayIgnoringChange,
}

/// [`DialOrigin`] as host programs read it.
#[derive(Serialize)]
struct OriginFlags {
    #[serde(rename = "isReplay")]
    is_replay: bool,
    #[serde(rename = "replayIgnoredChange")]
    ignored_change: bool,
    #[serde(rename = "DSLPrioritized")]
    dsl_prioritized: DslPrioritized,
}

/// Dynamic server lists are not fetched yet, so no dial is prioritized by one.
struct DslPrioritized;

impl Serialize for DslPrioritized {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

impl From<DialOrigin> for OriginFlags {
    fn from(origin: DialOrigin) -> Self {
        Self {
            is_replay: origin != DialOrigin::Fresh,
            ignored_change: origin == DialOrigin::ReplayIgnoringChange,
            dsl_prioritized: DslPrioritized,
        }
    }
}

/// How an attempt circumvents censorship.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DialNetworkDetails {
    #[serde(rename = "SSHClientVersion", skip_serializing_if = "Option::is_none")]
    pub ssh_client_version: Option<String>,
    #[serde(rename = "dialPortNumber", skip_serializing_if = "Option::is_none")]
    pub dial_port_number: Option<String>,
    #[serde(rename = "networkLatencyMultiplier", skip_serializing_if = "Option::is_none")]
    pub network_latency_multiplier: Option<f64>,
    #[serde(rename = "serverEntrySource", skip_serializing_if = "Option::is_none")]
    pub server_entry_source: Option<String>,
    #[serde(rename = "serverEntryTimestamp", skip_serializing_if = "Option::is_none")]
    pub server_entry_timestamp: Option<String>,
    #[serde(rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    #[serde(rename = "OSSHPrefix", skip_serializing_if = "Option::is_none")]
    pub ossh_prefix: Option<String>,
    #[serde(rename = "SeedTransform", skip_serializing_if = "Option::is_none")]
    pub seed_transform: Option<String>,
    /// Whole nanoseconds.
    #[serde(rename = "dialDuration", skip_serializing_if = "Option::is_none", serialize_with = "as_nanos")]
    pub dial_duration: Option<Duration>,
    /// Further facts by the names that the API reports them under, such as `upstream_ossh_padding`.
    #[serde(flatten)]
    pub metrics: BTreeMap<&'static str, serde_json::Value>,
}

impl Notice {
    pub fn info(message: impl std::fmt::Display) -> Self {
        Self::Info { message: FreeText::new(message) }
    }

    pub fn warning(message: impl std::fmt::Display) -> Self {
        Self::Warning { message: FreeText::new(message) }
    }

    pub fn error(message: impl std::fmt::Display) -> Self {
        Self::Error { message: FreeText::new(message) }
    }

    pub fn fatal(message: impl std::fmt::Display) -> Self {
        Self::Fatal { message: FreeText::new(message) }
    }

    /// Who may see this notice.
    pub fn audience(&self) -> Audience {
        match self {
            Self::BytesTransferred { .. } => Audience::Subscriber(Topic::BytesTransferred),
            Self::ClientAddress { .. } => Audience::Subscriber(Topic::ClientAddress),
            Self::ServerAlert { .. } => Audience::Subscriber(Topic::ServerAlerts),
            Self::ActiveTunnel { .. }
            | Self::BuildInfo { .. }
            | Self::CandidateServers(_)
            | Self::ConnectedServer(_)
            | Self::ConnectingServer(_)
            | Self::Error { .. }
            | Self::HoldOffTunnel { .. }
            | Self::Info { .. }
            | Self::LocalProxyError { .. }
            | Self::PruneServerEntry { .. }
            | Self::SessionId { .. }
            | Self::TotalBytesTransferred { .. }
            | Self::Warning { .. } => Audience::Diagnostic,
            Self::ActiveAuthorizationIDs { .. }
            | Self::ApplicationParameters { .. }
            | Self::AvailableEgressRegions { .. }
            | Self::ClientIsLatestVersion { .. }
            | Self::ClientRegion { .. }
            | Self::ClientUpgradeAvailable { .. }
            | Self::ConfigWarning { .. }
            | Self::ConnectedServerRegion { .. }
            | Self::EstablishTunnelTimeout { .. }
            | Self::Exiting {}
            | Self::Fatal { .. }
            | Self::Homepage { .. }
            | Self::HttpProxyPortInUse(_)
            | Self::InternalError { .. }
            | Self::ListeningHttpProxyPort { .. }
            | Self::ListeningHttpProxyUnixPath { .. }
            | Self::ListeningSocksProxyPort { .. }
            | Self::ListeningSocksProxyUnixPath { .. }
            | Self::NetworkID { .. }
            | Self::ServerTimestamp { .. }
            | Self::SkipServerEntry { .. }
            | Self::SocksProxyPortInUse(_)
            | Self::TrafficRateLimits { .. }
            | Self::Tunnels { .. }
            | Self::UpstreamProxyError { .. } => Audience::User,
        }
    }

    /// Which repeats of this notice are left out.
    pub(super) fn repeats(&self) -> Repeats {
        match self {
            Self::ApplicationParameters { .. }
            | Self::AvailableEgressRegions { .. }
            | Self::LocalProxyError { .. }
            | Self::NetworkID { .. }
            | Self::UpstreamProxyError { .. } => Repeats::LastSuppressed,
            Self::ServerAlert { .. } | Self::SkipServerEntry { .. } => Repeats::AllSuppressed,
            _ => Repeats::Shown,
        }
    }

    /// The notice as `detail` may see it.
    pub(super) fn reduced_to(mut self, detail: Detail) -> Self {
        if let Self::ConnectedServer(dial) | Self::ConnectingServer(dial) = &mut self
            && detail < Detail::NetworkDiagnostic
        {
            dial.network = None;
        }
        self
    }
}

/// A duration as the reference prints it: "5m0s", "1.5s", "20ms".
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        let (unit, digits, name) = match nanos {
            0 => return "0s".to_owned(),
            1..1_000 => (1, 0, "ns"),
            1_000..1_000_000 => (1_000, 3, "\u{b5}s"),
            _ => (1_000_000, 6, "ms"),
        };
        return format!("{}{}{name}", nanos / unit, fraction(nanos % unit, digits));
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = format!("{}{}s", seconds % 60, fraction(nanos, 9));
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// The digits after the point, without trailing zeros, with the point unless there are none.
fn fraction(value: u32, digits: usize) -> String {
    if value == 0 {
        return String::new();
    }
    format!(".{value:0digits$}").trim_end_matches('0').to_owned()
}

fn as_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*duration))
}

fn as_nanos<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let nanos = duration.map(|d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    nanos.serialize(serializer)
}
