//! What both ends agree on, as data: server entries, API messages, the table of tunnel protocols.

pub mod json_position;
