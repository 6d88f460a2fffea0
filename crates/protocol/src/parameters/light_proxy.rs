//! Parameters of light proxies: TLS to one server that passes single connections on, while there is no tunnel.

use std::time::Duration;

use super::declare::{SECOND, YEAR, parameters};
use super::fault::Problems;
use super::host_names::patterns_compile;
use super::{Probability, ScaledDuration};

parameters! {
    /// When and how one is used.
    pub struct LightProxy {
        /// Whether no light proxy is used.
        disable: bool = false, "LightProxyDisable";
        /// Whether no light proxy stands in while there is no tunnel.
        disable_fallback: bool = false, "LightProxyDisableFallback";
        /// After how long without a tunnel a light proxy stands in.
        tunnel_inactive_threshold: Duration = Duration::from_secs(30), within Duration::ZERO..=YEAR, "LightProxyTunnelInactiveThreshold";
        /// Longest time for dialing a light proxy.
        dial_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(20)), within SECOND..=YEAR, "LightProxyDialTimeout";
        /// Which names and ports may be reached through one; all when empty.
        limit_destination_addresses: Vec<String> = Vec::new(), "LightProxyLimitDestinationAddresses";
        /// How likely TLS shows the name that its entry recommends.
        use_recommended_sni_probability: Probability = Probability::HALF, "LightProxyUseRecommendedSNIProbability";
        /// Patterns to generate other names from.
        custom_host_name_regexes: Vec<String> = Vec::new(), "LightProxyCustomHostNameRegexes";
        /// How likely such a pattern is used.
        custom_host_name_probability: Probability = Probability::NEVER, "LightProxyCustomHostNameProbability";
        /// How many dials there are at a time through one's own.
        personal_pairing_worker_pool_size: u32 = 2, within 1..=1000, "LightProxyPersonalPairingConnectionWorkerPoolSize";
    }
    rules LightProxy::patterns_compile;
}

impl LightProxy {
    fn patterns_compile(&self, problems: &mut Problems) {
        patterns_compile("LightProxyCustomHostNameRegexes", &self.custom_host_name_regexes, problems);
    }
}
