//! Where connections arrive.

use std::io;

use culvert_protocol::TunnelProtocol;

use crate::{BoxFuture, Remote, Stream};

/// Accepts connections of one protocol.
pub trait Listen: Send {
    /// The next connection. An error is of the listener, not of a connection: the caller waits before it tries
    /// again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>>;
}

/// An accepted connection, and what is known of it.
pub struct Accepted {
    /// The bytes.
    pub stream: Stream,
    /// The facts.
    pub facts: ConnFacts,
}

/// What is known of an accepted connection before its first byte.
#[derive(Clone, Copy, Debug)]
pub struct ConnFacts {
    /// Which protocol's port it came to.
    pub protocol: TunnelProtocol,
    /// Who sends the bytes.
    pub peer: Remote,
}
