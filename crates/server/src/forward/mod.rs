//! Port forwards: where a client's flow may go and how it gets there.

pub mod destination;
pub(crate) mod early;
pub mod egress;
pub(crate) mod flows;
pub mod own_addresses;
pub(crate) mod random;
mod relay;
pub(crate) mod resolver;
pub mod special_purpose;
pub(crate) mod tcp;
pub(crate) mod udp_gateway;
