//! Parameters of TLS. TRANSPORTS.md 1.

use std::collections::BTreeMap;

use super::declare::parameters;
use super::fault::{Fault, Problems};
use super::{CustomTlsProfile, Probability, TlsProfileName};
use crate::TunnelProtocol;
use crate::json_position::{Step, near_name};

/// Most padding that a ClientHello's extension can hold.
const MOST_PADDING: u32 = 65_535;

parameters! {
    /// How a client's TLS looks.
    pub struct Tls {
        /// How likely the list of profiles is obeyed.
        limit_profiles_probability: Probability = Probability::ALWAYS, "LimitTLSProfilesProbability";
        /// Which profiles may be used; all when empty.
        limit_profiles: Vec<TlsProfileName> = Vec::new(), "LimitTLSProfiles";
        /// Whether the built-in profiles are not to be used.
        only_custom_profiles: bool = false, "UseOnlyCustomTLSProfiles";
        /// Profiles that this version was built without.
        custom_profiles: Vec<CustomTlsProfile> = Vec::new(), "CustomTLSProfiles";
        /// How likely a ClientHello is of random shape instead of a browser's.
        select_randomized_probability: Probability = Probability::QUARTER, "SelectRandomizedTLSProfileProbability";
        /// How likely a ClientHello goes without session ID, where a browser may.
        no_default_session_id_probability: Probability = Probability::HALF, "NoDefaultTLSSessionIDProbability";
        /// Profiles that do not work with a fronting provider.
        disable_fronting_provider_profiles: BTreeMap<String, Vec<TlsProfileName>> = BTreeMap::new(), "DisableFrontingProviderTLSProfiles";
        /// How likely TLS-OSSH offers a session ticket made from a shared secret.
        obfuscated_psk_probability: Probability = Probability::HALF, "TLSTunnelObfuscatedPSKProbability";
        /// How likely a ClientHello of TLS-OSSH is padded.
        traffic_shaping_probability: Probability = Probability::ALWAYS, "TLSTunnelTrafficShapingProbability";
        /// Least padding of a ClientHello of TLS-OSSH, in bytes.
        min_padding: u32 = 0, within 0..=MOST_PADDING, "TLSTunnelMinTLSPadding";
        /// Most padding of a ClientHello of TLS-OSSH; 0 is off.
        max_padding: u32 = 0, within 0..=MOST_PADDING, "TLSTunnelMaxTLSPadding";
        /// How likely a ClientHello is split over two records inside the server's name.
        fragment_client_hello_probability: Probability = Probability::NEVER, "TLSFragmentClientHelloProbability";
        /// For which protocols; all when empty.
        fragment_client_hello_limit_protocols: Vec<TunnelProtocol> = Vec::new(), "TLSFragmentClientHelloLimitProtocols";
    }
    ordered { min_padding <= max_padding }
    rules Tls::profiles_exist;
}

impl Tls {
    fn profiles_exist(&self, problems: &mut Problems) {
        for (index, name) in self.limit_profiles.iter().enumerate() {
            self.exists(name, "LimitTLSProfiles", vec![index.into()], problems);
        }
        for (label, names) in &self.disable_fronting_provider_profiles {
            for (index, name) in names.iter().enumerate() {
                let inside = vec![label.as_str().into(), index.into()];
                self.exists(name, "DisableFrontingProviderTLSProfiles", inside, problems);
            }
        }
    }

    fn exists(&self, name: &TlsProfileName, parameter: &str, inside: Vec<Step>, problems: &mut Problems) {
        let custom = || self.custom_profiles.iter().map(|profile| profile.name.as_str());
        if name.is_known() || custom().any(|custom| custom == name.as_str()) {
            return;
        }
        let near = near_name(name.as_str(), TlsProfileName::KNOWN.into_iter().chain(custom()));
        let fault = Fault::UnknownItem {
            what: "a TLS profile",
            name: name.as_str().to_owned(),
            near: near.map(str::to_owned),
        };
        problems.note(parameter, inside, fault);
    }
}
