//! Parameters: everything about dialing that tactics or a config may tune, each declared once with its meaning, default and
//! bounds. Reading one is a field access; setting one goes by the reference's name and JSON form.
//!
//! Not here: where overrides come from, and what is done with the values. PROTOCOL.md 6.5.

mod declare;
mod fault;
mod fragmentor;
mod host_names;
mod meek;
mod named;
mod ossh;
mod quic;
#[cfg(test)]
mod tests;
mod tls;
mod transforms;
mod value;

pub use fault::{Fault, OverrideError};
pub use fragmentor::{DownstreamFragmentor, Fragmentor};
pub use host_names::HostNames;
pub use meek::{Meek, ServerMeekPadding};
pub use named::{CustomTlsProfile, QuicVersion, TlsProfileName, UnknownName};
pub use ossh::Ossh;
pub use quic::Quic;
pub use tls::Tls;
pub use transforms::Transforms;
pub use value::Probability;

use std::borrow::Cow;

use serde_json::Value as Json;

use declare::{Group, groups};
use fault::Problems;

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
    /// What it is for.
    pub about: &'static str,
}

groups! {
    /// The client's parameters.
    pub struct Parameters {
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
}

groups! {
    /// Parameters that only a server reads.
    pub struct ServerParameters {
        /// Fragmentation of the first bytes that a server sends.
        pub fragmentor: DownstreamFragmentor = DownstreamFragmentor::default(),
        /// Padding of meek responses.
        pub meek_padding: ServerMeekPadding = ServerMeekPadding::default(),
    }
}
