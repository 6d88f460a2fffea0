//! One SSH connection, either role, obfuscated or not, without I/O.
//!
//! Bytes, time and randomness come in as arguments; bytes and events go out. The one exception is ephemeral
//! key material, which comes from the crypto library through [`kex::EphemeralKeys`].
//!
//! Begin with [`Connection`]. `ARCHITECTURE.md` shows where it stands.

pub mod cipher;
pub mod direct_tcpip;
pub mod host_key;
pub mod kex;
pub mod kexinit;
pub mod names;
pub mod wire;

mod channel;
mod config;
mod connection;
mod credit;
mod error;
mod event;
mod ident;
mod inbound;
mod messages;
mod outbound;
mod output_buffer;
mod receive_window;
mod requests;
mod shape;

pub use channel::ChannelId;
pub use config::{
    Admit, Algorithms, Authenticate, ChoosePrefix, ClientConfig, ClientObfuscation, Decisions, Limits,
    Preamble, PreambleFacts, ReplyPrefix, ServerConfig, ServerKind, ServerObfuscation,
};
pub use connection::{BATCH, ChannelData, ChannelOpen, Connection, OpenError, Progress};
pub use credit::MemoryBudget;
pub use error::{Error, Misbehaviour};
pub use event::Event;
pub use ident::{Ident, IdentError};
pub use kexinit::{Negotiated, Role};
pub use requests::{Refused, Reply, ReplyToken, RequestId};
