//! Parameters of the fragmentor, of either end. TRANSPORTS.md 6.6.

use std::time::Duration;

use super::Probability;
use super::declare::parameters;
use crate::TunnelProtocol;

/// Most bytes that are fragmented: what is written slowly is memory and time.
const MOST_BYTES: u32 = 1 << 24;
/// Longest pause before a piece.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const USUAL_DELAY: Duration = Duration::from_millis(10);

parameters! {
    /// How the first bytes that a client sends are cut into small writes with pauses between.
    pub struct Fragmentor {
        /// How likely a connection is fragmented.
        probability: Probability = Probability::HALF, "FragmentorProbability";
        /// Which protocols may be; all when empty.
        limit_protocols: Vec<TunnelProtocol> = Vec::new(), "FragmentorLimitProtocols";
        /// Fewest bytes that are fragmented.
        min_total_bytes: u32 = 0, within 0..=MOST_BYTES, "FragmentorMinTotalBytes";
        /// Most bytes that are fragmented; 0 is off.
        max_total_bytes: u32 = 0, within 0..=MOST_BYTES, "FragmentorMaxTotalBytes";
        /// Smallest piece, in bytes.
        min_write_bytes: u32 = 1, within 1..=MOST_BYTES, "FragmentorMinWriteBytes";
        /// Largest piece, in bytes.
        max_write_bytes: u32 = 1500, within 1..=MOST_BYTES, "FragmentorMaxWriteBytes";
        /// Shortest pause before a piece.
        min_delay: Duration = Duration::ZERO, within Duration::ZERO..=LONGEST_DELAY, "FragmentorMinDelay";
        /// Longest pause before a piece.
        max_delay: Duration = USUAL_DELAY, within Duration::ZERO..=LONGEST_DELAY, "FragmentorMaxDelay";
    }
    ordered { min_total_bytes <= max_total_bytes, min_write_bytes <= max_write_bytes, min_delay <= max_delay }
}

parameters! {
    /// The same of what a server sends.
    pub struct DownstreamFragmentor {
        /// How likely a connection is fragmented.
        probability: Probability = Probability::HALF, "FragmentorDownstreamProbability";
        /// Which protocols may be; all when empty.
        limit_protocols: Vec<TunnelProtocol> = Vec::new(), "FragmentorDownstreamLimitProtocols";
        /// Fewest bytes that are fragmented.
        min_total_bytes: u32 = 0, within 0..=MOST_BYTES, "FragmentorDownstreamMinTotalBytes";
        /// Most bytes that are fragmented; 0 is off.
        max_total_bytes: u32 = 0, within 0..=MOST_BYTES, "FragmentorDownstreamMaxTotalBytes";
        /// Smallest piece, in bytes.
        min_write_bytes: u32 = 1, within 1..=MOST_BYTES, "FragmentorDownstreamMinWriteBytes";
        /// Largest piece, in bytes.
        max_write_bytes: u32 = 1500, within 1..=MOST_BYTES, "FragmentorDownstreamMaxWriteBytes";
        /// Shortest pause before a piece.
        min_delay: Duration = Duration::ZERO, within Duration::ZERO..=LONGEST_DELAY, "FragmentorDownstreamMinDelay";
        /// Longest pause before a piece.
        max_delay: Duration = USUAL_DELAY, within Duration::ZERO..=LONGEST_DELAY, "FragmentorDownstreamMaxDelay";
    }
    ordered { min_total_bytes <= max_total_bytes, min_write_bytes <= max_write_bytes, min_delay <= max_delay }
}
