//! Cuts the first bytes of a connection into small writes with pauses between, so that what a middlebox looks for is not in
//! one segment. A layer right above TCP, of either end; the peer need not know. Source: TRANSPORTS.md 6.6.

mod network;
mod plan;
mod stream;

pub use network::Fragmenting;
pub use plan::{Fragmentation, Piece, Settings};
pub(crate) use stream::Fragmented;

use culvert_obfuscation::Prng;

use crate::Stream;

/// Fragments what is written to the stream from now on, if the draw says so; else it is the stream itself.
#[must_use]
pub fn fragment(stream: Stream, settings: &Settings, prng: Prng) -> Stream {
    match Fragmentation::draw(settings, prng) {
        Some(fragmentation) => Box::new(Fragmented::new(stream, fragmentation)),
        None => stream,
    }
}
