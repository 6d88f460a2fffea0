//! Parameters: everything that tactics or a config may tune, each declared once with its meaning, default and
//! bounds. Reading one is a field access; setting one goes by the reference's name and JSON form.
//!
//! Not here: where overrides come from, and what is done with the values. PROTOCOL.md 6.5.

mod address;
mod api;
mod apply;
mod changed;
mod conjure;
mod declare;
mod dsl;
mod establish;
mod fault;
mod fragmentor;
mod fronting;
mod host_names;
mod inproxy;
mod inproxy_server;
mod light_proxy;
mod limits;
mod list;
mod liveness;
mod meek;
mod named;
mod ossh;
mod quic;
mod remote_lists;
mod replay;
mod resolver;
mod server;
mod spec;
mod tactics;
#[cfg(test)]
mod tests;
mod tls;
mod transforms;
mod tunnel;
mod value;

pub use address::{Cidr, PortRanges, ProtocolPorts};
pub use api::{Api, CheckTags, SpeedTest, Statistics};
pub use apply::{Applied, OnFault, ParametersDigest, ReadBy};
pub use changed::{CHANGED_DEFAULTS, ChangedDefault, ReferenceDefault, changed_rows};
pub use conjure::Conjure;
pub use dsl::{Dsl, DslRelay};
pub use establish::{Establish, Latency};
pub use fault::{Fault, OverrideError};
pub use fragmentor::{DownstreamFragmentor, Fragmentor};
pub use fronting::Fronting;
pub use host_names::HostNames;
pub use inproxy::{Inproxy, InproxyBroker, InproxyNat, InproxyRequests, InproxyWebRtc};
pub use inproxy_server::{InproxyMatcher, InproxyQuality, InproxyServer};
pub use light_proxy::LightProxy;
pub use limits::{HoldOff, Limits, Restrict};
pub use liveness::{KeepAlive, Liveness};
pub use meek::{Meek, ServerMeekPadding};
pub use named::{
    ConjureTransport, CustomTlsProfile, DtlsFingerprint, FrontingTransport, QuicVersion, TlsProfileName,
    UnknownName,
};
pub use ossh::Ossh;
pub use quic::Quic;
pub use remote_lists::{Feedback, RemoteLists, Upgrade};
pub use replay::{FrontedHttpReplay, Replay, ReplayParts};
pub use resolver::Resolver;
pub use server::{ServerPackets, ServerReplay, ServerRestrict, ServerServices};
pub use spec::{
    BrokerSpec, CompartmentId, FrontingSpec, LivenessTest, LivenessTests, NamedSpec, RateLimits,
    TrafficShaping, TransferUrl,
};
pub use tactics::Tactics;
pub use tls::Tls;
pub use transforms::Transforms;
pub use tunnel::{LocalProxies, SplitTunnel, Tunnel};
pub use value::{AtMost, Probability, ScaledDuration};

use std::borrow::Cow;

use serde_json::Value as Json;

use declare::groups;

/// What may be said of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The reference's name.
    pub name: Cow<'static, str>,
    /// What a value is, in words.
    pub kind: &'static str,
    /// The default, as JSON.
    pub default: Json,
    /// The bounds, as JSON; both ends belong to them.
    pub bounds: Option<(Json, Json)>,
    /// What a value is, as a JSON Schema.
    pub schema: Json,
    /// What is special about it.
    pub flags: Flags,
    /// What the parameters beside it are about.
    pub topic: &'static str,
    /// What it is for.
    pub about: &'static str,
}

impl Row {
    /// What it is about and for, in one line.
    #[must_use]
    pub fn description(&self) -> String {
        let topic = self.topic.split(['.', '\n']).next().unwrap_or_default();
        format!("{topic}: {}", self.about.replace('\n', ""))
    }

    /// The JSON Schema of a value, with what it is for and the default.
    #[must_use]
    pub fn described_schema(&self) -> Json {
        let mut schema = self.schema.clone();
        if let Some(members) = schema.as_object_mut() {
            members.insert("description".to_owned(), self.description().into());
            members.insert("default".to_owned(), self.default.clone());
        }
        schema
    }
}

/// What is special about a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It is a time that grows on slow networks.
    pub latency_scaled: bool,
    /// Clients do not read it.
    pub server_only: bool,
}

groups! {
    /// The client's parameters.
    pub struct Parameters of ReadBy::Clients;
    /// By how much timeouts grow on slow networks.
    pub latency: Latency = Latency::default(),
    /// Finding a way through.
    pub establish: Establish = Establish::default(),
    /// Protocols and ports that may be used.
    pub limits: Limits = Limits::default(),
    /// Providers whose servers are left out.
    pub restrict: Restrict = Restrict::default(),
    /// Candidates that wait for others.
    pub hold_off: HoldOff = HoldOff::default(),
    /// Using plans again.
    pub replay: Replay = Replay::default(),
    /// Which choices of a plan are used again.
    pub replay_parts: ReplayParts = ReplayParts::default(),
    /// Using the ways to web servers again.
    pub fronted_http_replay: FrontedHttpReplay = FrontedHttpReplay::default(),
    /// Tests of new tunnels.
    pub liveness: Liveness = Liveness::default(),
    /// Tests of idle tunnels.
    pub keep_alive: KeepAlive = KeepAlive::default(),
    /// Resolving names.
    pub resolver: Resolver = Resolver::default(),
    /// How DNS requests are rewritten. Scopes are addresses of servers.
    pub dns: Transforms = Transforms::named("DNSResolverProtocolTransform", Probability::NEVER),
    /// API requests.
    pub api: Api = Api::default(),
    /// Reports that wait for a tunnel.
    pub statistics: Statistics = Statistics::default(),
    /// Entries that are of no more use.
    pub check_tags: CheckTags = CheckTags::default(),
    /// Times of answers.
    pub speed_test: SpeedTest = SpeedTest::default(),
    /// Asking for tactics.
    pub tactics: Tactics = Tactics::default(),
    /// Tunnels that are up.
    pub tunnel: Tunnel = Tunnel::default(),
    /// The proxies for applications.
    pub local_proxies: LocalProxies = LocalProxies::default(),
    /// Destinations that are reached without the tunnel.
    pub split_tunnel: SplitTunnel = SplitTunnel::default(),
    /// Fronts.
    pub fronting: Fronting = Fronting::default(),
    /// Lists of servers.
    pub remote_lists: RemoteLists = RemoteLists::default(),
    /// Newer clients.
    pub upgrade: Upgrade = Upgrade::default(),
    /// Reports that a person sends.
    pub feedback: Feedback = Feedback::default(),
    /// Servers that are learned one by one.
    pub dsl: Dsl = Dsl::default(),
    /// Light proxies.
    pub light_proxy: LightProxy = LightProxy::default(),
    /// Conjure.
    pub conjure: Conjure = Conjure::default(),
    /// Whether in-proxies are used.
    pub inproxy: Inproxy = Inproxy::default(),
    /// Ways to brokers.
    pub inproxy_broker: InproxyBroker = InproxyBroker::default(),
    /// What brokers are asked.
    pub inproxy_requests: InproxyRequests = InproxyRequests::default(),
    /// Connections between clients and in-proxies.
    pub inproxy_webrtc: InproxyWebRtc = InproxyWebRtc::default(),
    /// How the two find each other.
    pub inproxy_nat: InproxyNat = InproxyNat::default(),
    /// TLS of every protocol that has it.
    pub tls: Tls = Tls::default(),
    /// Meek.
    pub meek: Meek = Meek::default(),
    /// QUIC.
    pub quic: Quic = Quic::default(),
    /// The obfuscation layer of SSH.
    pub ossh: Ossh = Ossh::default(),
    /// Fragmentation of the first bytes of a TCP connection.
    pub fragmentor: Fragmentor = Fragmentor::default(),
    /// Names that servers are called by, in TLS and HTTP, and what clients are called in HTTP.
    pub host_names: HostNames = HostNames::default(),
    /// What an OSSH connection begins with. Always something, unlike the reference: a connection that is noise from its
    /// first byte is what censors block first. Scopes are port numbers.
    pub ossh_prefix: Transforms = Transforms::named("OSSHPrefix", Probability::ALWAYS),
    /// How the seed of an OSSH preamble is rewritten.
    pub ossh_seed: Transforms = Transforms::named("OSSHObfuscatorSeedTransform", Probability::NEVER),
    /// What the salt of a Shadowsocks stream begins with; always something, for the same reason. Scopes are port numbers.
    pub shadowsocks_prefix: Transforms = Transforms::named("ShadowsocksPrefix", Probability::ALWAYS),
    /// How nonces of obfuscated QUIC packets are rewritten. Scopes are addresses.
    pub quic_nonce: Transforms = Transforms::named("ObfuscatedQUICNonceTransform", Probability::NEVER),
    /// How plain HTTP requests straight to a server are rewritten. Scopes are addresses.
    pub direct_http: Transforms = Transforms::named("DirectHTTPProtocolTransform", Probability::NEVER),
    /// How plain HTTP requests to a front are rewritten. Scopes are fronting providers.
    pub fronted_http: Transforms = Transforms::named("FrontedHTTPProtocolTransform", Probability::NEVER),
}

groups! {
    /// Parameters that only a server reads.
    pub struct ServerParameters of ReadBy::Servers;
    /// Fragmentation of the first bytes that a server sends.
    pub fragmentor: DownstreamFragmentor = DownstreamFragmentor::default(),
    /// Padding of meek responses.
    pub meek_padding: ServerMeekPadding = ServerMeekPadding::default(),
    /// What works for clients of one place.
    pub replay: ServerReplay = ServerReplay::default(),
    /// Packets of a server's sockets.
    pub packets: ServerPackets = ServerPackets::default(),
    /// What a server does for tunnels that are up.
    pub services: ServerServices = ServerServices::default(),
    /// Clients that are refused.
    pub restrict: ServerRestrict = ServerRestrict::default(),
    /// Clients' requests for servers.
    pub dsl_relay: DslRelay = DslRelay::default(),
    /// Who may be paired with in-proxies.
    pub inproxy: InproxyServer = InproxyServer::default(),
    /// How they are paired.
    pub inproxy_matcher: InproxyMatcher = InproxyMatcher::default(),
    /// Which in-proxies work.
    pub inproxy_quality: InproxyQuality = InproxyQuality::default(),
}
