//! UDP of applications: SOCKS5 UDP ASSOCIATE, carried to the server's UDP gateway. One channel carries the datagrams of
//! all applications, since a server keeps one for each client.
//!
//! No datagram waits in memory: an application's socket is read only when its turn for the channel has come, and what
//! comes back goes to a socket or nowhere. The system's own bounded buffers are the queues, one for each application.
//!
//! Source: RFC 1928 section 7; PROTOCOL.md 7.1.

mod association;
mod connections;
mod gateway;
pub mod header;
mod lookup;
mod names;
#[cfg(test)]
mod tests;

pub(super) use association::{Association, Claim};
pub(super) use gateway::Gateway;
