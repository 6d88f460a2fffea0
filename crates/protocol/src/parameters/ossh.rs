//! Parameters of the obfuscation layer of SSH, and of API padding. PROTOCOL.md 2.

use std::time::Duration;

use super::declare::parameters;
use super::fault::Problems;

/// Most padding of a preamble, PROTOCOL.md 2.2.
const MOST_PADDING: u32 = 8192;
/// Most padding of an API request.
const MOST_API_PADDING: u32 = 65_535;
const LONGEST_SPLIT: Duration = Duration::from_secs(60);

parameters! {
    /// How obfuscated SSH begins, and how much API requests are padded.
    pub struct Ossh {
        /// Least padding of a preamble, in bytes.
        min_padding: u32 = 0, within 0..=MOST_PADDING, "ObfuscatedSSHMinPadding";
        /// Most padding of a preamble.
        max_padding: u32 = MOST_PADDING, within 0..=MOST_PADDING, "ObfuscatedSSHMaxPadding";
        /// Shortest pause behind a prefix.
        prefix_split_min_delay: Duration = Duration::ZERO, within Duration::ZERO..=LONGEST_SPLIT, "OSSHPrefixSplitMinDelay";
        /// Longest pause behind a prefix; not longer than the shortest when 0.
        prefix_split_max_delay: Duration = Duration::ZERO, within Duration::ZERO..=LONGEST_SPLIT, "OSSHPrefixSplitMaxDelay";
        /// Whether connections with a prefix may be fragmented too.
        prefix_enable_fragmentor: bool = false, "OSSHPrefixEnableFragmentor";
        /// Least padding that an API request carries.
        api_request_min_padding: u32 = 0, within 0..=MOST_API_PADDING, "APIRequestUpstreamPaddingMinBytes";
        /// Most padding that an API request carries.
        api_request_max_padding: u32 = 1024, within 0..=MOST_API_PADDING, "APIRequestUpstreamPaddingMaxBytes";
        /// Least padding that an API request asks for in the reply.
        api_reply_min_padding: u32 = 0, within 0..=MOST_API_PADDING, "APIRequestDownstreamPaddingMinBytes";
        /// Most padding that an API request asks for in the reply.
        api_reply_max_padding: u32 = 1024, within 0..=MOST_API_PADDING, "APIRequestDownstreamPaddingMaxBytes";
    }
    ordered {
        min_padding <= max_padding,
        api_request_min_padding <= api_request_max_padding,
        api_reply_min_padding <= api_reply_max_padding,
    }
    rules Ossh::split_is_in_order;
}

impl Ossh {
    fn split_is_in_order(&self, problems: &mut Problems) {
        // The reference takes the least alone for a fixed pause.
        if !self.prefix_split_max_delay.is_zero() {
            problems.in_order(
                (&self.prefix_split_min_delay, "OSSHPrefixSplitMinDelay"),
                (&self.prefix_split_max_delay, "OSSHPrefixSplitMaxDelay"),
            );
        }
    }
}
