//! Parameters of Conjure: addresses that stand for a server once a registrar was told.

use std::time::Duration;

use super::declare::{YEAR, parameters};
use super::{ConjureTransport, FrontingSpec, Probability};

parameters! {
    /// How an address is registered, and how it is dialed.
    pub struct Conjure {
        /// For how long a registration may be used again; 0 is off.
        cached_registration_ttl: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ConjureCachedRegistrationTTL";
        /// Where an address is registered over HTTPS.
        api_registrar_url: String = String::new(), "ConjureAPIRegistrarURL";
        /// Where an address is registered over HTTPS by a registrar that answers with it.
        api_registrar_bidirectional_url: String = String::new(), "ConjureAPIRegistrarBidirectionalURL";
        /// Fronts through which the registrar is reached.
        api_registrar_fronting_specs: Vec<FrontingSpec> = Vec::new(), "ConjureAPIRegistrarFrontingSpecs";
        /// Shortest pause between registering and dialing.
        api_registrar_min_delay: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ConjureAPIRegistrarMinDelay";
        /// Longest pause between registering and dialing.
        api_registrar_max_delay: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ConjureAPIRegistrarMaxDelay";
        /// How likely an address is registered by requests to decoys instead.
        decoy_registrar_probability: Probability = Probability::NEVER, "ConjureDecoyRegistrarProbability";
        /// How many decoys are asked.
        decoy_registrar_width: u32 = 5, within 0..=1000, "ConjureDecoyRegistrarWidth";
        /// Shortest pause between requests to decoys and dialing.
        decoy_registrar_min_delay: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ConjureDecoyRegistrarMinDelay";
        /// Longest pause between requests to decoys and dialing.
        decoy_registrar_max_delay: Duration = Duration::ZERO, within Duration::ZERO..=YEAR, "ConjureDecoyRegistrarMaxDelay";
        /// Whether addresses may be of IPv6.
        enable_ipv6_dials: bool = true, "ConjureEnableIPv6Dials";
        /// Whether the port is random as the address is.
        enable_port_randomization: bool = true, "ConjureEnablePortRandomization";
        /// Whether the registrar may choose another prefix.
        enable_registration_overrides: bool = false, "ConjureEnableRegistrationOverrides";
        /// What an address may be dialed with; all when empty.
        limit_transports: Vec<ConjureTransport> = Vec::new(), "ConjureLimitTransports";
        /// How likely the list of transports is obeyed.
        limit_transports_probability: Probability = Probability::ALWAYS, "ConjureLimitTransportsProbability";
        /// Who is asked for our own address where the transport needs it.
        stun_server_addresses: Vec<String> = Vec::new(), "ConjureSTUNServerAddresses";
        /// How likely DTLS begins with an empty packet.
        dtls_empty_initial_packet_probability: Probability = Probability::NEVER, "ConjureDTLSEmptyInitialPacketProbability";
    }
    ordered { api_registrar_min_delay <= api_registrar_max_delay, decoy_registrar_min_delay <= decoy_registrar_max_delay }
}
