//! The client's first bytes: seed, hidden magic and padding, and around them a prefix when one is planned.
//! The server's side is `reader`. Source: `PROTOCOL.md` 2.3, 2.5.

use std::fmt;
use std::time::Duration;

use crate::prefix::PrefixPlan;
use crate::{Direction, Keystream, Keyword, ObfuscatorSeed, Prng, Seed, derive_both};

/// What a preamble's hidden part starts with (`PROTOCOL.md` 2.1).
pub(crate) const MAGIC: u32 = 0x0BF5_CA7E;
/// The prefix header's version (`PROTOCOL.md` 2.5).
pub(crate) const PREFIX_HEADER_VERSION: u16 = 1;
/// Most padding of a preamble, and of a server's identification (`PROTOCOL.md` 2.1).
pub const MAX_PADDING: usize = 8192;
/// Least padding a client sends: the server's seed is made of it (`PROTOCOL.md` 2.3).
pub const MIN_CLIENT_PADDING: usize = 32;

/// How much padding a client's preamble has: between two bounds inside 32..=8192.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingRange {
    min: usize,
    max: usize,
}

impl PaddingRange {
    /// The configured bounds. One that is not inside 32..=8192 gives way to its default, and so does a maximum
    /// below the minimum (`PROTOCOL.md` 2.3).
    #[must_use]
    pub fn new(min: Option<usize>, max: Option<usize>) -> Self {
        let usable = |bound: &usize| (MIN_CLIENT_PADDING..=MAX_PADDING).contains(bound);
        let min = min.filter(usable).unwrap_or(MIN_CLIENT_PADDING);
        let max = max.filter(usable).filter(|max| *max >= min).unwrap_or(MAX_PADDING);
        Self { min, max }
    }

    /// The least padding.
    #[must_use]
    pub const fn min(self) -> usize {
        self.min
    }

    /// The most padding.
    #[must_use]
    pub const fn max(self) -> usize {
        self.max
    }
}

impl Default for PaddingRange {
    fn default() -> Self {
        Self { min: MIN_CLIENT_PADDING, max: MAX_PADDING }
    }
}

/// Everything that fixes a client's preamble, so that a dial can be repeated.
#[derive(Clone, Debug)]
pub struct PreamblePlan {
    /// Fresh random bytes for every connection: a repeated one is refused as a replay. Transformed already, if
    /// a transform was selected and no prefix was (`PROTOCOL.md` 2.3).
    pub obfuscator_seed: ObfuscatorSeed,
    /// What the padding is drawn from.
    pub padding_seed: Seed,
    /// How long the padding is.
    pub padding: PaddingRange,
    /// What goes before it, in clear.
    pub prefix: Option<PrefixPlan>,
}

/// A client's first bytes, and the streams that continue behind them.
pub struct ClientPreamble {
    /// What to send, before the identification line (hidden by `to_server`) and in the same write where possible.
    pub bytes: Vec<u8>,
    /// How many of `bytes` to write first: all of them, unless the plan splits the prefix off.
    pub first_write: usize,
    /// The pause after that first write; zero when it is the only one.
    pub split_delay: Duration,
    /// Hides what follows.
    pub to_server: Keystream,
    /// Reveals what the server sends, behind its prefix if it has one.
    pub from_server: Keystream,
    /// Whether the server will send a prefix: then find its end with a
    /// [`TerminatorSearch`](crate::TerminatorSearch) for [`Direction::ServerToClient`].
    pub expect_prefix: bool,
    /// How much padding was drawn, in bytes.
    pub padding_len: usize,
}

impl ClientPreamble {
    /// Builds the preamble of a plan.
    #[must_use]
    pub fn new(keyword: &Keyword, plan: &PreamblePlan) -> Self {
        let seed = &plan.obfuscator_seed;
        let (mut to_server, from_server) = derive_both(keyword, seed);
        let padding = Prng::new(&plan.padding_seed).padding(plan.padding.min, plan.padding.max);

        let mut bytes = Vec::new();
        let (mut first_write, mut split_delay) = (None, Duration::ZERO);
        if let Some(PrefixPlan { prefix, split, .. }) = &plan.prefix {
            bytes = prefix.terminated(keyword, Direction::ClientToServer);
            // An empty first write would be none: a spec may generate nothing and only be filled up.
            if let Some(delay) = split.filter(|_| prefix.unfilled() > 0) {
                (first_write, split_delay) = (Some(prefix.unfilled()), delay);
            }
        }
        bytes.extend_from_slice(seed.as_bytes());
        let hidden_from = bytes.len();
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&(padding.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&padding);
        if let Some(plan) = &plan.prefix {
            append_prefix_header(&mut bytes, plan.name.as_bytes());
        }
        if let Some(hidden) = bytes.get_mut(hidden_from..) {
            to_server.apply(hidden);
        }
        Self {
            first_write: first_write.unwrap_or(bytes.len()),
            bytes,
            split_delay,
            to_server,
            from_server,
            expect_prefix: plan.prefix.is_some(),
            padding_len: padding.len(),
        }
    }
}

impl fmt::Debug for ClientPreamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPreamble")
            .field("len", &self.bytes.len())
            .field("first_write", &self.first_write)
            .field("split_delay", &self.split_delay)
            .field("expect_prefix", &self.expect_prefix)
            .finish_non_exhaustive()
    }
}

/// Version and name, both lengths in two bytes (`PROTOCOL.md` 2.5). A name has at most 4096.
fn append_prefix_header(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(&PREFIX_HEADER_VERSION.to_be_bytes());
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GeneratedPrefix, PrefixName};

    fn plan(prefix: Option<PrefixPlan>) -> PreamblePlan {
        PreamblePlan {
            obfuscator_seed: ObfuscatorSeed::from_bytes([5; 16]),
            padding_seed: Seed::from_bytes([6; 32]),
            padding: PaddingRange::default(),
            prefix,
        }
    }

    fn prefix(split: Option<Duration>, unfilled: usize) -> PrefixPlan {
        PrefixPlan {
            name: PrefixName::new("HTTP").unwrap(),
            prefix: GeneratedPrefix::new(vec![b'x'; 30], unfilled).unwrap(),
            split,
        }
    }

    #[test]
    fn configured_padding_gives_way_to_the_defaults_when_it_cannot_be_used() {
        let range = |min, max| {
            let range = PaddingRange::new(min, max);
            (range.min(), range.max())
        };
        assert_eq!(range(None, None), (32, 8192));
        assert_eq!(range(Some(40), Some(50)), (40, 50));
        assert_eq!(range(Some(0), Some(50)), (32, 50));
        assert_eq!(range(Some(40), Some(9000)), (40, 8192));
        assert_eq!(range(Some(50), Some(40)), (50, 8192));
    }

    #[test]
    fn only_a_split_prefix_is_written_alone() {
        let keyword = Keyword::new("k");
        let whole = ClientPreamble::new(&keyword, &plan(None));
        assert_eq!((whole.first_write, whole.expect_prefix), (whole.bytes.len(), false));

        let joined = ClientPreamble::new(&keyword, &plan(Some(prefix(None, 30))));
        assert_eq!((joined.first_write, joined.expect_prefix), (joined.bytes.len(), true));

        let delay = Duration::from_millis(3);
        let split = ClientPreamble::new(&keyword, &plan(Some(prefix(Some(delay), 7))));
        assert_eq!((split.first_write, split.split_delay), (7, delay));

        let filler_only = ClientPreamble::new(&keyword, &plan(Some(prefix(Some(delay), 0))));
        assert_eq!(
            (filler_only.first_write, filler_only.split_delay),
            (filler_only.bytes.len(), Duration::ZERO)
        );
    }
}
