//! What both ends agree on, as data: server entries, API messages, the table of tunnel protocols.
//!
//! Pure: no I/O, no clock, no randomness of its own. PROTOCOL.md 3.5, 3.6, 4, 5, 6.3, 6.4.5, 7.1.

pub mod api;
pub mod authorization;
pub mod cbor;
pub mod duration;
pub mod go_json;
pub mod go_number;
pub mod json_position;
pub mod json_syntax;
pub mod packed;
pub mod parameters;
pub mod proxy_header;
pub mod server_entry;
pub mod text_form;
pub mod timestamp;
mod tunnel_protocol;
pub mod udpgw;

pub use server_entry::{EntryFields, ServerEntry};
pub use tunnel_protocol::{
    BaseProtocol, Carrier, Feature, MeekKind, PortSource, Traits, TunnelProtocol, UnknownProtocol,
};
