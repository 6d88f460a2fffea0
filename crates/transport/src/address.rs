//! Addresses that must not be mixed up, and must not be printed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a dial goes: a server's address, or a name that is still to be resolved.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address.
    Address(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted endpoint]")
    }
}

/// The address at the other end of an accepted connection: who sends the bytes, which behind a proxy or CDN
/// is not the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Remote(pub SocketAddr);

impl Remote {
    /// Without the port, for budgets that an address shares.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted remote address]")
    }
}
