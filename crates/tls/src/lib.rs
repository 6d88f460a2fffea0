//! TLS on top of rustls, with a hand in what rustls decides by itself: a ClientHello is chosen byte by byte, in the likeness of a browser's; sessions are resumed
//! that were never established, with tickets made from a shared secret; servers accept those. What follows a handshake is sealed and opened
//! here, in large buffers.
//!
//! No sockets, runtime, files or clock: bytes, the time and seeds are arguments. Key material comes from aws-lc-rs, through rustls.

mod client;
mod drawn;
mod handshake;
mod hello;
mod hooks;
mod inflate;
mod mint;
pub mod profiles;
pub mod random;
mod records;
mod self_test;
mod server;
mod sessions;
#[cfg(test)]
mod tests;
mod ticket;
mod verify;

pub use client::{ClientHandshake, ClientSettings, Established, Fresh, Split};
pub use handshake::{HandshakeError, Progress};
pub use hello::{
    Extension, HelloEdits, HelloMessage, Malformed, Profile, ProfileError, SessionId, Value,
    server_name_offset,
};
pub use records::{Content, HEADER, MOST_DATA, OVERHEAD, Opened, RecordError, Records};
pub use self_test::{SelfTestFailed, self_test};
pub use server::{Server, ServerError, ServerHandshake, ServerSettings, Versions};
pub use ticket::{PADDINGS, SECRET_LEN, TicketSecret, TicketState};
pub use verify::{NotAPin, Pin, Verify};
