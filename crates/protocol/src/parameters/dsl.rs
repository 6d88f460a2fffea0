//! Parameters of servers that are learned one by one from a service, on either end.

use std::time::Duration;

use super::declare::{HOUR, YEAR, parameters};
use super::{Probability, ScaledDuration};

parameters! {
    /// What a client asks the service for.
    pub struct Dsl {
        /// Whether the service is asked for servers.
        enabled: bool = false, "EnableDSLFetcher";
        /// Longest time for a request through a tunnel.
        tunneled_request_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(5)), within Duration::ZERO..=YEAR, "DSLFetcherTunneledRequestTimeout";
        /// How often such a request is made again.
        tunneled_retry_count: u32 = 0, within 0..=1000, "DSLFetcherTunneledRequestRetryCount";
        /// Pause before a request through a tunnel is made again.
        tunneled_retry_delay: Duration = Duration::from_secs(5), within Duration::ZERO..=YEAR, "DSLFetcherTunneledRequestRetryDelay";
        /// By which part of itself the pause between requests through tunnels may vary.
        tunneled_retry_delay_jitter: f64 = 0.3, within 0.0..=1.0, "DSLFetcherTunneledRequestRetryDelayJitter";
        /// Least time between two rounds of requests through tunnels.
        tunneled_fetch_ttl: Duration = HOUR, within Duration::ZERO..=YEAR, "DSLFetcherTunneledFetchTTL";
        /// Fewest servers that are asked for through a tunnel.
        tunneled_discover_min_count: u32 = 1, within 0..=100_000, "DSLFetcherTunneledDiscoverServerEntriesMinCount";
        /// Most servers that are asked for through a tunnel.
        tunneled_discover_max_count: u32 = 2, within 0..=100_000, "DSLFetcherTunneledDiscoverServerEntriesMaxCount";
        /// Fewest entries in one request through a tunnel.
        tunneled_get_min_count: u32 = 30, within 0..=100_000, "DSLFetcherTunneledGetServerEntriesMinCount";
        /// Most entries in one request through a tunnel.
        tunneled_get_max_count: u32 = 60, within 0..=100_000, "DSLFetcherTunneledGetServerEntriesMaxCount";
        /// Longest time for a request through a broker.
        untunneled_request_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(30)), within Duration::ZERO..=YEAR, "DSLFetcherUntunneledRequestTimeout";
        /// How often such a request is made again.
        untunneled_retry_count: u32 = 2, within 0..=1000, "DSLFetcherUntunneledRequestRetryCount";
        /// Pause before a request through a broker is made again.
        untunneled_retry_delay: Duration = Duration::from_secs(5), within Duration::ZERO..=YEAR, "DSLFetcherUntunneledRequestRetryDelay";
        /// By which part of itself the pause between requests through brokers may vary.
        untunneled_retry_delay_jitter: f64 = 0.3, within 0.0..=1.0, "DSLFetcherUntunneledRequestRetryDelayJitter";
        /// Least time between two rounds of requests through brokers.
        untunneled_fetch_ttl: Duration = HOUR.saturating_mul(6), within Duration::ZERO..=YEAR, "DSLFetcherUntunneledFetchTTL";
        /// Fewest servers that are asked for through a broker.
        untunneled_discover_min_count: u32 = 200, within 0..=100_000, "DSLFetcherUntunneledDiscoverServerEntriesMinCount";
        /// Most servers that are asked for through a broker.
        untunneled_discover_max_count: u32 = 400, within 0..=100_000, "DSLFetcherUntunneledDiscoverServerEntriesMaxCount";
        /// Fewest entries in one request through a broker.
        untunneled_get_min_count: u32 = 30, within 0..=100_000, "DSLFetcherUntunneledGetServerEntriesMinCount";
        /// Most entries in one request through a broker.
        untunneled_get_max_count: u32 = 60, within 0..=100_000, "DSLFetcherUntunneledGetServerEntriesMaxCount";
        /// How often it is asked which other lists are in use.
        last_active_osls_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "DSLFetcherGetLastActiveOSLsTTL";
        /// Fewest of these lists in one request.
        osl_file_specs_min_count: u32 = 1, within 0..=100_000, "DSLFetcherGetOSLFileSpecsMinCount";
        /// Most of these lists in one request.
        osl_file_specs_max_count: u32 = 1, within 0..=100_000, "DSLFetcherGetOSLFileSpecsMaxCount";
        /// How likely a server that is new is dialed early, where the service says so.
        prioritize_new_probability: Probability = Probability::HALF, "DSLPrioritizeDialNewServerEntryProbability";
        /// How likely a server that was known is dialed early, where the service says so.
        prioritize_existing_probability: Probability = Probability::QUARTER, "DSLPrioritizeDialExistingServerEntryProbability";
        /// For how long a server is dialed early.
        prioritize_placeholder_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "DSLPrioritizeDialPlaceholderTTL";
        /// How likely a server is still dialed early when it failed.
        prioritize_retain_failed_probability: Probability = Probability::NEVER, "DSLPrioritizeDialRetainFailedProbability";
    }
    ordered { tunneled_discover_min_count <= tunneled_discover_max_count, tunneled_get_min_count <= tunneled_get_max_count, untunneled_discover_min_count <= untunneled_discover_max_count, untunneled_get_min_count <= untunneled_get_max_count, osl_file_specs_min_count <= osl_file_specs_max_count }
}

parameters! {
    /// How a server passes clients' requests on to the service.
    pub struct DslRelay {
        /// Where the service is, as name or address and port.
        service_address: String = String::new(), "DSLRelayServiceAddress";
        /// Longest time for one request to the service.
        request_timeout: Duration = Duration::from_secs(30), within Duration::ZERO..=YEAR, "DSLRelayRequestTimeout";
        /// How often a request to the service is made again.
        retry_count: u32 = 1, within 0..=1000, "DSLRelayRetryCount";
        /// Most connections to the service.
        max_http_conns: u32 = 100, within 1..=100_000, "DSLRelayMaxHttpConns";
        /// Most idle connections to the service.
        max_http_idle_conns: u32 = 10, within 1..=100_000, "DSLRelayMaxHttpIdleConns";
        /// For how long idle connections to the service are kept.
        http_idle_conn_timeout: Duration = Duration::from_secs(120), within Duration::ZERO..=YEAR, "DSLRelayHttpIdleConnTimeout";
        /// For how long an entry is kept for other clients; 0 is off.
        server_entry_cache_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "DSLRelayServerEntryCacheTTL";
        /// How many entries are kept for other clients.
        server_entry_cache_max_size: u32 = 250_000, within 0..=10_000_000, "DSLRelayServerEntryCacheMaxSize";
        /// For how long the place of another list is kept for other clients; 0 is off.
        osl_file_spec_cache_ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "DSLRelayOSLFileSpecCacheTTL";
        /// How many places of other lists are kept.
        osl_file_spec_cache_max_size: u32 = 250_000, within 0..=10_000_000, "DSLRelayOSLFileSpecCacheMaxSize";
    }
}
