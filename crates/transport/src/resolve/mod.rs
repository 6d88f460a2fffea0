//! Addresses of names that dials need: from the system's resolver, and from servers of our own choice over UDP, TLS or HTTPS, with answers that
//! are looked at before they are believed. Not for names of users' flows, which only servers resolve. Source: TRANSPORTS.md 6.8.

mod bogus;
mod cache;
mod draw;
mod exchange;
mod happy;
mod plan;
mod resolver;
mod secure;
mod steered;
#[cfg(test)]
mod tests;
mod udp;
pub mod wire;

pub use bogus::is_bogus;
pub use cache::CacheLimits;
pub use draw::FrontName;
pub use happy::Resolving;
pub use plan::{BadServer, DnsServer, First, Preresolved, QueryTransform, ResolvePlan};
pub use resolver::{Answered, ResolveError, Resolver};
pub use steered::Steered;
