//! The plan of a QUIC connection: which look, and under what name. Source: TRANSPORTS.md 3.1, 3.2.

use culvert_obfuscation::{Pattern, PatternKind, Prng, Transform};
use culvert_protocol::parameters::QuicVersion;
use culvert_transport::quic::{KeyText, NonceTransform, Plan, Version};
use culvert_transport::{Endpoint, TransportPlan};

use super::{PlanError, Planner, select, specs};

/// The looks that this build has. All are QUIC version 1.
const LOOKS: [(QuicVersion, Version); 4] = [
    (QuicVersion::V1, Version::Plain),
    (QuicVersion::RandomizedV1, Version::Randomized),
    (QuicVersion::ObfuscatedV1, Version::Hidden),
    (QuicVersion::DecoyV1, Version::Decoy),
];

/// Host names where the settings generate none.
const HOST_NAMES: &str = r"[a-z]{4,12}(|[a-z0-9]{1,4}|-[a-z]{3,7})\.(com|com|com|net|org)";

/// How a plan's look is called in parameters and reports, and the host name.
pub(crate) fn look(transport: &TransportPlan) -> Option<(QuicVersion, &str)> {
    let TransportPlan::Quic(plan) = transport else { return None };
    let (name, _) = LOOKS.iter().find(|(_, version)| *version == plan.version)?;
    Some((*name, &plan.server_name))
}

impl Planner<'_> {
    pub(super) fn quic(&self, server: Endpoint) -> Result<Plan, PlanError> {
        let seed = self.seed.derive("quic");
        let version = self.quic_version(&mut Prng::derived(&seed, "version"))?;
        let hidden = matches!(version, Version::Hidden | Version::Decoy);
        Ok(Plan {
            server,
            version,
            key: KeyText::new(self.entry.required_text("sshObfuscatedKey")?),
            server_name: self.quic_server_name(&mut Prng::derived(&seed, "server-name"))?,
            nonce_transform: if hidden { self.nonce_transform()? } else { None },
            seed,
        })
    }

    fn quic_version(&self, prng: &mut Prng) -> Result<Version, PlanError> {
        let parameters = &self.parameters.quic;
        let limited = prng.flip_weighted_coin(parameters.limit_versions_probability.get());
        let limits = if limited { parameters.limit_versions.as_slice() } else { &[] };
        let of_entry: Vec<&str> = self.entry.texts("limitQUICVersions").collect();
        let allowed = |name: QuicVersion| {
            (limits.is_empty() || limits.contains(&name))
                && (of_entry.is_empty() || of_entry.contains(&name.name()))
        };
        let versions: Vec<Version> =
            LOOKS.into_iter().filter(|(name, _)| allowed(*name)).map(|(_, version)| version).collect();
        prng.pick(&versions).copied().ok_or(PlanError::NoQuicVersion)
    }

    fn quic_server_name(&self, prng: &mut Prng) -> Result<String, PlanError> {
        let names = &self.parameters.host_names;
        let custom = prng.flip_weighted_coin(names.custom_probability.get());
        let pattern = prng.pick(&names.custom_regexes).filter(|_| custom).map_or(HOST_NAMES, String::as_str);
        let pattern =
            Pattern::parse(pattern, PatternKind::Text).map_err(culvert_obfuscation::TransformError::from)?;
        let name = pattern.generate(prng).map_err(culvert_obfuscation::TransformError::from)?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    fn nonce_transform(&self) -> Result<Option<NonceTransform>, PlanError> {
        let settings = &self.parameters.quic_nonce;
        let seed = self.seed.derive("quic-nonce-transform");
        let mut choice = Prng::derived(&seed, "choice");
        if self.entry.flag("disableObfuscatedQUICTransforms")
            || !choice.flip_weighted_coin(settings.probability.get())
        {
            return Ok(None);
        }
        let specs = specs(settings, Transform::new)?;
        let chosen = select(settings, &specs, self.entry.address().to_string(), &mut choice);
        let transform = |(name, transform): (String, &Transform)| NonceTransform {
            name,
            transform: transform.clone(),
            seed: seed.derive("spec"),
        };
        Ok(chosen.map(transform))
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;

    use super::*;

    #[test]
    fn host_names_are_such() {
        let pattern = Pattern::parse(HOST_NAMES, PatternKind::Text).unwrap();
        for n in 0..200_u32 {
            let mut prng = Prng::derived(&Seed::from_bytes([1; 32]), &n.to_string());
            let name = String::from_utf8(pattern.generate(&mut prng).unwrap()).unwrap();
            let label = |label: &str| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            assert!(name.split('.').all(label) && name.split('.').count() == 2, "{name}");
        }
    }
}
