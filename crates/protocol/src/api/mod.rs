//! API messages between client and server over SSH: requests, replies and the rules for their parameters.
//!
//! Requests are [`Params`](crate::packed::Params) on the wire; each has a struct here that is made from and into them.
//! Not here: sending and answering them. PROTOCOL.md 3.5, 3.6, 4, 6.4.5.

mod base;
mod connected;
mod dial;
mod encoding;
mod handshake;
mod handshake_reply;
mod log_fields;
mod meek_cookie;
mod password;
mod server_requests;
mod specs;
mod speed_test;
mod status;
mod validate;

pub use base::{BaseParams, MAX_RESPONSE_PADDING, Padding, PaddingRange, PaddingRanges, response_padding};
pub use connected::{ConnectedReply, ConnectedRequest, NEVER_CONNECTED};
pub use dial::{DialParams, UnknownParam};
pub use encoding::RequestEncoding;
pub use handshake::{HandshakeRequest, MissingMembers, TacticsParams};
pub use handshake_reply::{
    HandshakeReply, HostRegex, ReplyEncoding, ReplyError, TacticsPayload, reply_encoding,
};
pub use log_fields::log_fields;
pub use meek_cookie::MeekCookie;
pub use password::{PasswordError, PasswordPayload, SERVER_REQUESTS, SessionId, SshPassword};
pub use server_requests::{
    Alert, DISALLOWED_TRAFFIC, InproxyRelay, OslRequest, RandomStream, Slok, UNSAFE_TRAFFIC,
};
pub use specs::{
    BASE, CONNECTED, DIAL, FAILED_TUNNEL, HANDSHAKE, INPROXY, LogAs, REMOTE_SERVER_LIST, RequestKind, Shape,
    Spec, TACTICS, UNIQUE_USER,
};
pub use speed_test::{SpeedTestError, SpeedTestSample, parse_speed_test_reply, speed_test_reply};
pub use status::{HostBytes, StatusData, StatusReply, StatusRequest};
pub use validate::{
    ParamError, Validator, validate, validate_connected, validate_handshake, validate_status,
};

/// Names of SSH global requests, PROTOCOL.md 3.8.
pub mod request_name {
    /// Client to server, once per tunnel, first.
    pub const HANDSHAKE: &str = "psiphon-handshake";
    /// Client to server, once per tunnel and day.
    pub const CONNECTED: &str = "psiphon-connected";
    /// Client to server, every few minutes.
    pub const STATUS: &str = "psiphon-status";
    /// Client to server, relayed to the DSL backend.
    pub const DSL: &str = "psiphon-dsl";
    /// Client to server, of old clients; answered with nothing.
    pub const CLIENT_VERIFICATION: &str = "psiphon-client-verification";
    /// Server to client: keys for obfuscated server lists.
    pub const OSL: &str = "psiphon-osl";
    /// Server to client: something that the user should know.
    pub const ALERT: &str = "psiphon-alert";
    /// Server to client, during an in-proxy handshake.
    pub const INPROXY_RELAY: &str = "psiphon-inproxy-relay";
    /// Client to server, to see if the tunnel lives; the reply is a speed test body.
    pub const KEEPALIVE: &str = "keepalive@openssh.com";
}

/// Client capabilities by which our client offers extensions of ours, PROTOCOL.md 12.
pub mod extension {
    /// Refused flows may say why. 12.1.
    pub const REFUSAL_REASONS: &str = "culvert-refusal-reasons";
    /// Channel opens may carry the flow's first bytes, if the handshake's reply takes it up. 12.2.
    pub const FIRST_BYTES: &str = "culvert-first-bytes";
}

#[cfg(test)]
mod tests;
