//! Parameters of fronts: addresses that they name, and headers for them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Probability;
use super::declare::{HOUR, YEAR, parameters};
use crate::TunnelProtocol;

parameters! {
    /// What is special to fronts.
    pub struct Fronting {
        /// How likely an address is dialed that the front named itself.
        steering_ip_probability: Probability = Probability::ALWAYS, "SteeringIPProbability";
        /// For how long an address that a front named is kept.
        steering_ip_cache_ttl: Duration = HOUR, within Duration::ZERO..=YEAR, "SteeringIPCacheTTL";
        /// How many addresses that fronts named are kept.
        steering_ip_cache_max_entries: u32 = 65_536, within 0..=1_048_576, "SteeringIPCacheMaxEntries";
        /// Headers that requests of meek and to proxies carry besides their own.
        additional_custom_headers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "AdditionalCustomHeaders";
        /// For which protocols of a provider requests name what is behind the front.
        add_psiphon_fronting_header: BTreeMap<String, Vec<TunnelProtocol>> = BTreeMap::new(), "AddFrontingProviderPsiphonFrontingHeader";
    }
}
