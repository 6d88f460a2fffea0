//! ClientHellos as data: what one consists of, how one is written, and how one is read. Source: RFC 8446 section 4.1.2, TRANSPORTS.md 1.4, 1.5.

mod message;
mod profile;
mod write;

pub use message::{HelloMessage, Malformed, server_name_offset};
pub use profile::{Extension, Profile, ProfileError, Value};
pub use write::{HelloEdits, SessionId};

pub(crate) use message::{Fields, key_share_group};
pub(crate) use write::HelloWriter;

/// Numbers of extensions.
pub(crate) mod number {
    pub(crate) const SERVER_NAME: u16 = 0x0000;
    pub(crate) const GROUPS: u16 = 0x000a;
    pub(crate) const SIGNATURES: u16 = 0x000d;
    pub(crate) const ALPN: u16 = 0x0010;
    pub(crate) const PADDING: u16 = 0x0015;
    pub(crate) const EXTENDED_MASTER_SECRET: u16 = 0x0017;
    pub(crate) const SESSION_TICKET: u16 = 0x0023;
    pub(crate) const PRE_SHARED_KEY: u16 = 0x0029;
    pub(crate) const VERSIONS: u16 = 0x002b;
    pub(crate) const COOKIE: u16 = 0x002c;
    pub(crate) const KEY_SHARES: u16 = 0x0033;
    pub(crate) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}
