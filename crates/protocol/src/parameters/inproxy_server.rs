//! Parameters of brokers, and of servers behind in-proxies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::declare::{HOUR, MINUTE, SECOND, YEAR, parameters};
use super::{BrokerSpec, CompartmentId, Probability};

parameters! {
    /// Who may be paired.
    pub struct InproxyServer {
        /// Whether a client may use in-proxies.
        allow_client: bool = false, "InproxyAllowClient";
        /// Whether in-proxies may pass on to fronts.
        allow_domain_fronted_destinations: bool = false, "InproxyAllowDomainFrontedDestinations";
        /// Keys of all brokers. Not read: the next one is.
        all_broker_public_keys: Vec<String> = Vec::new(), "InproxyAllBrokerPublicKeys";
        /// All brokers that tactics may name; those of clients when empty.
        all_broker_specs: Vec<BrokerSpec> = Vec::new(), "InproxyAllBrokerSpecs";
        /// All marks of in-proxies for anyone that tactics may name.
        all_common_compartment_ids: Vec<CompartmentId> = Vec::new(), "InproxyAllCommonCompartmentIDs";
        /// The mark of in-proxies for clients of a sponsor.
        sponsor_common_compartment_id: BTreeMap<String, CompartmentId> = BTreeMap::new(), "InproxySponsorCommonCompartmentID";
        /// In which countries an in-proxy's clients may be, by its own country; anywhere when empty.
        allow_match_by_region: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyAllowMatchByRegion";
        /// In which networks an in-proxy's clients may be, by its own network; anywhere when empty.
        allow_match_by_asn: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyAllowMatchByASN";
        /// In which countries an in-proxy's clients may not be, by its own country.
        disallow_match_by_region: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyDisallowMatchByRegion";
        /// In which networks they may not be, by its own network.
        disallow_match_by_asn: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyDisallowMatchByASN";
        /// Longest time that a broker leaves a request open, by fronting provider.
        server_max_request_timeouts: BTreeMap<String, Duration> = BTreeMap::new(), "InproxyFrontingProviderServerMaxRequestTimeouts";
    }
}

parameters! {
    /// How a broker pairs.
    pub struct InproxyMatcher {
        /// Most open offers of in-proxies at one address; 0 is any.
        announcement_limit_entry_count: u32 = 50, within 0..=1_000_000, "InproxyBrokerMatcherAnnouncementLimitEntryCount";
        /// Most offers of in-proxies at one address in the interval beside; 0 is any.
        announcement_rate_limit_quantity: u32 = 50, within 0..=1_000_000, "InproxyBrokerMatcherAnnouncementRateLimitQuantity";
        /// The time for which offers of in-proxies are counted.
        announcement_rate_limit_interval: Duration = MINUTE, within Duration::ZERO..=YEAR, "InproxyBrokerMatcherAnnouncementRateLimitInterval";
        /// In-proxies to which no such limit applies.
        announcement_exempt_proxy_ids: Vec<String> = Vec::new(), "InproxyBrokerMatcherAnnouncementExemptProxyIDs";
        /// Sponsors to whose in-proxies none applies.
        announcement_exempt_sponsor_ids: Vec<String> = Vec::new(), "InproxyBrokerMatcherAnnouncementExemptSponsorIDs";
        /// Most open requests of clients at one address; 0 is any.
        offer_limit_entry_count: u32 = 10, within 0..=1_000_000, "InproxyBrokerMatcherOfferLimitEntryCount";
        /// Most requests of clients at one address in the interval beside; 0 is any.
        offer_rate_limit_quantity: u32 = 50, within 0..=1_000_000, "InproxyBrokerMatcherOfferRateLimitQuantity";
        /// The time for which requests of clients are counted.
        offer_rate_limit_interval: Duration = MINUTE, within Duration::ZERO..=YEAR, "InproxyBrokerMatcherOfferRateLimitInterval";
        /// A request with less time left than this is not paired.
        offer_minimum_deadline: Duration = SECOND, within Duration::ZERO..=YEAR, "InproxyBrokerMatcherOfferMinimumDeadline";
        /// How likely in-proxies that the filter below names come first.
        prioritize_proxies_probability: Probability = Probability::ALWAYS, "InproxyBrokerMatcherPrioritizeProxiesProbability";
        /// What in-proxies that come first say of themselves, by parameter.
        prioritize_proxies_filter: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyBrokerMatcherPrioritizeProxiesFilter";
        /// The least version of in-proxies that come first.
        prioritize_proxies_min_version: u32 = 0, within 0..=u32::MAX, "InproxyBrokerMatcherPrioritizeProxiesMinVersion";
        /// How long an in-proxy's offer stays open.
        proxy_announce_timeout: Duration = Duration::from_secs(120), within Duration::ZERO..=YEAR, "InproxyBrokerProxyAnnounceTimeout";
        /// How long a client's request stays open.
        client_offer_timeout: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "InproxyBrokerClientOfferTimeout";
        /// How long a client's request for its own in-proxy stays open.
        client_offer_personal_timeout: Duration = Duration::from_secs(5), within Duration::ZERO..=YEAR, "InproxyBrokerClientOfferPersonalTimeout";
        /// For how long a message to a server is kept for its answer.
        pending_server_requests_ttl: Duration = MINUTE, within Duration::ZERO..=YEAR, "InproxyBrokerPendingServerRequestsTTL";
        /// Most requests for servers from one address in the interval beside; 0 is any.
        dsl_request_rate_limit_quantity: u32 = 20, within 0..=1_000_000, "InproxyBrokerDSLRequestRateLimitQuantity";
        /// The time for which requests for servers are counted.
        dsl_request_rate_limit_interval: Duration = SECOND, within Duration::ZERO..=YEAR, "InproxyBrokerDSLRequestRateLimitInterval";
    }
}

parameters! {
    /// Telling brokers which in-proxies work.
    pub struct InproxyQuality {
        /// Whether servers tell, and brokers listen.
        enabled: bool = false, "InproxyEnableProxyQuality";
        /// Of clients in which countries; all when empty.
        client_regions: Vec<String> = Vec::new(), "InproxyEnableProxyQualityClientRegions";
        /// How much an in-proxy must carry upstream to count as working.
        target_upstream_bytes: u32 = 0, within 0..=u32::MAX, "InproxyProxyQualityTargetUpstreamBytes";
        /// How much it must carry downstream for that.
        target_downstream_bytes: u32 = 0, within 0..=u32::MAX, "InproxyProxyQualityTargetDownstreamBytes";
        /// For how long an in-proxy must carry it to count as working.
        target_duration: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "InproxyProxyQualityTargetDuration";
        /// For how long a broker remembers that an in-proxy works.
        ttl: Duration = HOUR.saturating_mul(24), within Duration::ZERO..=YEAR, "InproxyProxyQualityTTL";
        /// Within which time of being paired a server must tell, or the pair failed.
        pending_failed_match_deadline: Duration = Duration::from_secs(300), within Duration::ZERO..=YEAR, "InproxyProxyQualityPendingFailedMatchDeadline";
        /// After how many failed pairs an in-proxy no longer counts as working.
        failed_match_threshold: u32 = 10, within 1..=1_000_000, "InproxyProxyQualityFailedMatchThreshold";
        /// Most in-proxies in one report.
        reporter_max_request_entries: u32 = 1000, within 1..=1_000_000, "InproxyProxyQualityReporterMaxRequestEntries";
        /// Pause before a report, for more to come together.
        reporter_request_delay: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "InproxyProxyQualityReporterRequestDelay";
        /// Longest time for one report of in-proxies that work.
        reporter_request_timeout: Duration = Duration::from_secs(10), within Duration::ZERO..=YEAR, "InproxyProxyQualityReporterRequestTimeout";
        /// How often such a report is made again.
        reporter_request_retries: u32 = 2, within 0..=1000, "InproxyProxyQualityReporterRequestRetries";
        /// Headers that reports carry besides their own.
        reporter_additional_headers: BTreeMap<String, Vec<String>> = BTreeMap::new(), "InproxyProxyQualityReporterAdditionalHeaders";
        /// Whose certificates brokers have, in PEM; the usual authorities' when empty.
        reporter_trusted_ca_certificates: String = String::new(), "InproxyProxyQualityReporterTrustedCACertificates";
    }
}
