//! What is drawn: whether, how many bytes, and of each piece the pause and the size. Not the writing: see `stream.rs`.
//! Source: TRANSPORTS.md 6.6.

use std::fmt;
use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::{DownstreamFragmentor, Fragmentor, Probability};

/// How connections of one protocol are fragmented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How likely one is.
    pub probability: Probability,
    /// Least and most bytes that are fragmented.
    pub total_bytes: [u32; 2],
    /// Least and most bytes of a piece.
    pub write_bytes: [u32; 2],
    /// Shortest and longest pause before a piece.
    pub delay: [Duration; 2],
}

/// The settings of a group of parameters; `None` when they are off for the protocol.
macro_rules! settings {
    ($(#[$about:meta])* $of:ident, $Group:ty) => {
        $(#[$about])*
        #[must_use]
        pub fn $of(parameters: &$Group, protocol: TunnelProtocol) -> Option<Self> {
            let limit = &parameters.limit_protocols;
            let allowed = limit.is_empty() || limit.contains(&protocol);
            (parameters.max_total_bytes > 0 && allowed).then_some(Self {
                probability: parameters.probability,
                total_bytes: [parameters.min_total_bytes, parameters.max_total_bytes],
                write_bytes: [parameters.min_write_bytes, parameters.max_write_bytes],
                delay: [parameters.min_delay, parameters.max_delay],
            })
        }
    };
}

impl Settings {
    settings! {
        /// What a client does with a protocol's connections; `None` when it is off.
        of_client, Fragmentor
    }

    settings! {
        /// The same of a server.
        of_server, DownstreamFragmentor
    }
}

/// The fragmentation of one connection that is to be fragmented.
pub struct Fragmentation {
    prng: Prng,
    settings: Settings,
    /// Bytes that are still to be fragmented.
    left: u64,
}

/// The next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The pause before it.
    pub delay: Duration,
    /// Its bytes.
    pub bytes: usize,
}

impl Fragmentation {
    /// Draws whether a connection is fragmented, and how much of it.
    #[must_use]
    pub fn draw(settings: &Settings, mut prng: Prng) -> Option<Self> {
        if !prng.flip_weighted_coin(settings.probability.get()) {
            return None;
        }
        let [least, most] = settings.total_bytes;
        let left = range(&mut prng, least, most);
        (left > 0).then_some(Self { prng, settings: *settings, left })
    }

    /// How many bytes are still to be fragmented.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next piece of a write of which so many bytes are left; `None` when no more is fragmented.
    pub fn piece(&mut self, of_write: usize) -> Option<Piece> {
        if self.left == 0 || of_write == 0 {
            return None;
        }
        let [shortest, longest] = self.settings.delay;
        let delay = self.prng.period(shortest, longest);
        let of_write = u32::try_from(of_write).unwrap_or(u32::MAX);
        let [least, most] = self.settings.write_bytes.map(|bound| bound.min(of_write));
        let bytes = range(&mut self.prng, least, most).max(1);
        self.left = self.left.saturating_sub(bytes);
        Some(Piece { delay, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) })
    }
}

/// Both ends included.
fn range(prng: &mut Prng, least: u32, most: u32) -> u64 {
    prng.range(least.into(), most.into()).unsigned_abs()
}

impl fmt::Debug for Fragmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragmentation").field("left", &self.left).finish_non_exhaustive()
    }
}
