//! Parameters of resolving names outside the tunnel. How requests are rewritten is a group of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::declare::{MILLISECOND, YEAR, parameters};
use super::{Cidr, Probability, ScaledDuration};

/// Most requests to one server for one name.
const MOST_ATTEMPTS: u32 = 1000;

parameters! {
    /// Whom names are asked of, how, and for how long.
    pub struct Resolver {
        /// How often a server is asked for a name.
        attempts_per_server: u32 = 2, within 1..=MOST_ATTEMPTS, "DNSResolverAttemptsPerServer";
        /// How often a preferred server is asked before the others are.
        attempts_per_preferred_server: u32 = 1, within 1..=MOST_ATTEMPTS, "DNSResolverAttemptsPerPreferredServer";
        /// How long to wait for an answer before asking the next one.
        request_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(5)), within MILLISECOND.saturating_mul(100)..=YEAR, "DNSResolverRequestTimeout";
        /// How long to wait for the answer of the other address family when one is there.
        await_timeout: ScaledDuration = ScaledDuration::new(Duration::from_millis(10)), within MILLISECOND..=YEAR, "DNSResolverAwaitTimeout";
        /// Addresses to take without asking, by fronting provider.
        preresolved_cidrs: BTreeMap<String, Vec<Cidr>> = BTreeMap::new(), "DNSResolverPreresolvedIPAddressCIDRs";
        /// How likely a preresolved address is taken.
        preresolved_probability: Probability = Probability::NEVER, "DNSResolverPreresolvedIPAddressProbability";
        /// Servers to ask when the system's do not answer, as address or address and port.
        alternate_servers: Vec<String> = Vec::new(), "DNSResolverAlternateServers";
        /// Servers to ask before the system's.
        preferred_alternate_servers: Vec<String> = Vec::new(), "DNSResolverPreferredAlternateServers";
        /// How likely a preferred server is asked.
        prefer_alternate_probability: Probability = Probability::NEVER, "DNSResolverPreferAlternateServerProbability";
        /// How likely letters of a name are large or small at random.
        qname_randomize_casing_probability: Probability = Probability::NEVER, "DNSResolverQNameRandomizeCasingProbability";
        /// How likely an answer is dropped whose name is written otherwise than asked.
        qname_must_match_probability: Probability = Probability::NEVER, "DNSResolverQNameMustMatchProbability";
        /// How likely a request has an EDNS(0) record.
        include_edns0_probability: Probability = Probability::NEVER, "DNSResolverIncludeEDNS0Probability";
        /// For how long an answer is kept at least; 0 is as long as it says.
        cache_extension_initial_ttl: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "DNSResolverCacheExtensionInitialTTL";
        /// For how long an answer is kept at least that led to a server.
        cache_extension_verified_ttl: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "DNSResolverCacheExtensionVerifiedTTL";
    }
}
