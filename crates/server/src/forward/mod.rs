//! Port forwards: where a client's flow may go and how it gets there.

pub mod destination;
pub mod egress;
pub mod own_addresses;
pub mod special_purpose;
