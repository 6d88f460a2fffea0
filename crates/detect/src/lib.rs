//! What an observer on the way can tell of flows: the detectors that censors are known to use, as pure functions over recorded segments. Used
//! by `culvert quickstart` on its own traffic and by `cargo xtask detect` on many flows. Not here: recording, and active probes.

mod bursts;
mod client_hello;
mod flow;
mod fully_encrypted;
mod quic;
mod sizes;

pub use bursts::looks_like_tls_inside;
pub use client_hello::{ClientHello, browser_of};
pub use flow::{Carrier, Direction, FULL_SEGMENT, Flow, Segment};
pub use fully_encrypted::looks_fully_encrypted;
pub use quic::{FirstDatagram, first_datagram};
pub use sizes::{TellingSize, telling_sizes};
