//! Cuts the first bytes of a connection into small writes with pauses between, so that what a middlebox looks for is not in
//! one segment. A layer right above TCP, of either end; the peer need not know. Source: TRANSPORTS.md 6.6.

mod cuts;
mod network;
mod plan;
mod stream;

pub use cuts::{CutCounts, Cuts};
pub use network::Fragmenting;
pub use plan::{Fragmentation, Piece, Settings};
pub(crate) use stream::Fragmented;

use std::sync::Arc;

use culvert_obfuscation::Prng;

use crate::Stream;

/// Fragments what is written to the stream from now on, if the draw says so; else it is the stream itself.
#[must_use]
pub fn fragment(stream: Stream, settings: &Settings, prng: Prng) -> Stream {
    fragment_counted(stream, settings, prng).0
}

/// The same, with what counts the pieces where there will be some.
#[must_use]
pub fn fragment_counted(stream: Stream, settings: &Settings, prng: Prng) -> (Stream, Option<Arc<Cuts>>) {
    match Fragmentation::draw(settings, prng) {
        Some(fragmentation) => {
            let cuts = Arc::<Cuts>::default();
            (Box::new(Fragmented::new(stream, fragmentation, cuts.clone())), Some(cuts))
        }
        None => (stream, None),
    }
}
