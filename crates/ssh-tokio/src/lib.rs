//! Runs a [`culvert_ssh::Connection`] over any byte stream: one driver for both roles, channels as async
//! streams.
//!
//! What it does not do: decide anything about the protocol (that is `culvert-ssh`), or about what the
//! channels are for (that is `culvert-client` and `culvert-server`).
//!
//! Shape: the connection sits behind a mutex that is never held across an await. Applications write into
//! their channel's queue and wake the driver; the driver seals a batch when it is next polled, so small
//! writes of many channels share a write. Received data goes to the channel's queue and nowhere else: a
//! channel that nobody reads fills its own window and delays nobody. Buffers are lent only while bytes are
//! in them.

mod allocator;
mod backlog;
mod buffers;
mod channel;
mod driver;
mod meter;
mod session;
mod shared;
mod splice;
mod stack;

pub use allocator::{Forgetful, give_back_what_is_freed};
pub use channel::ChannelStream;
pub use driver::{Driver, End};
pub use meter::Meter;
pub use session::{
    Handle, Incoming, IncomingChannel, IncomingRequest, OpenFailure, Session, Stats, TunnelEnded,
};
pub use splice::splice;
pub use stack::forget_calls;

use culvert_ssh::Connection;

/// Pairs a connection with the stream it runs over. The returned driver must be polled (spawned) for
/// anything to happen; the session ends when it does.
pub fn run<S>(connection: Connection, stream: S) -> (Session, Driver<S>) {
    run_from(connection, Vec::new(), stream)
}

/// The same for a stream of which something was read already: `received` is the connection's first input.
pub fn run_from<S>(connection: Connection, received: Vec<u8>, stream: S) -> (Session, Driver<S>) {
    let shared = shared::Shared::new(connection);
    (Session::new(shared.clone()), Driver::new(shared, received, stream))
}
