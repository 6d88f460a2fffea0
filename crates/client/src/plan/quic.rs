//! The plan of a QUIC connection: which look, and under what name. Source: TRANSPORTS.md 3.1, 3.2.

use culvert_obfuscation::{Prng, Transform};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::QuicVersion;
use culvert_transport::quic::{KeyText, NonceTransform, Plan, Version};
use culvert_transport::{Endpoint, TransportPlan};

use super::{PlanError, Planner, host_name, select, specs};

/// The looks that this build has. All are QUIC version 1.
const LOOKS: [(QuicVersion, Version); 4] = [
    (QuicVersion::V1, Version::Plain),
    (QuicVersion::RandomizedV1, Version::Randomized),
    (QuicVersion::ObfuscatedV1, Version::Hidden),
    (QuicVersion::DecoyV1, Version::Decoy),
];

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
            server_name: host_name::select(
                &self.parameters.host_names,
                TunnelProtocol::QUIC_OSSH,
                &mut Prng::derived(&seed, "server-name"),
            ),
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
