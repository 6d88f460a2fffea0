//! Parameters of QUIC. TRANSPORTS.md 3.

use std::collections::BTreeMap;

use super::declare::parameters;
use super::{Probability, QuicVersion};

parameters! {
    /// Which QUIC a client speaks, and how.
    pub struct Quic {
        /// How likely the list of versions is obeyed.
        limit_versions_probability: Probability = Probability::ALWAYS, "LimitQUICVersionsProbability";
        /// Which versions may be used; all when empty.
        limit_versions: Vec<QuicVersion> = Vec::new(), "LimitQUICVersions";
        /// Versions that do not work with a fronting provider.
        disable_fronting_provider_versions: BTreeMap<String, Vec<QuicVersion>> = BTreeMap::new(), "DisableFrontingProviderQUICVersions";
        /// How likely data goes out with the first flight, where a session is resumed.
        dial_early_probability: Probability = Probability::ALWAYS, "QUICDialEarlyProbability";
        /// How likely a session ticket made from a shared secret is offered.
        obfuscated_psk_probability: Probability = Probability::HALF, "QUICObfuscatedPSKProbability";
        /// How likely the path's MTU is not probed.
        disable_path_mtu_discovery_probability: Probability = Probability::NEVER, "QUICDisableClientPathMTUDiscoveryProbability";
    }
}
