//! Port forwards: where a client's flow may go and how it gets there.

pub(crate) mod address_changes;
pub mod blocklist;
pub mod destination;
pub(crate) mod destination_bytes;
pub(crate) mod early;
pub mod egress;
pub(crate) mod exit;
pub(crate) mod flows;
pub(crate) mod headers;
pub mod names;
pub mod own_addresses;
pub(crate) mod random;
mod relay;
mod route;
pub mod special_purpose;
mod staggered;
pub(crate) mod tcp;
mod turns;
pub(crate) mod udp_gateway;
pub(crate) mod udp_limits;
