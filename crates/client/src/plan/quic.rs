//! The plan of a QUIC connection: which look, and under what name. Source: TRANSPORTS.md 3.1, 3.2.

use culvert_obfuscation::{Prng, Transform};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::QuicVersion;
use culvert_transport::meek::Route;
use culvert_transport::quic::{FrontPlan, KeyText, NonceTransform, Plan, Version};
use culvert_transport::{Endpoint, TransportPlan};

use super::choices::{Choice, StoredTransform};
use super::draft::Draft;
use super::meek::endpoint;
use super::{PlanError, host_name, pairs, transform};

/// The looks that this build has. All are QUIC version 1.
const LOOKS: [(QuicVersion, Version); 4] = [
    (QuicVersion::V1, Version::Plain),
    (QuicVersion::RandomizedV1, Version::Randomized),
    (QuicVersion::ObfuscatedV1, Version::Hidden),
    (QuicVersion::DecoyV1, Version::Decoy),
];

/// An address in place of a name: TLS then names none.
const NO_NAME: &str = "192.0.2.1";

/// How a plan's look is called in parameters and reports, and the host name.
pub(crate) fn look(transport: &TransportPlan) -> Option<(QuicVersion, &str)> {
    let TransportPlan::Quic(plan) = transport else { return None };
    let (name, _) = LOOKS.iter().find(|(_, version)| *version == plan.version)?;
    Some((*name, &plan.server_name))
}

impl Draft<'_> {
    pub(super) fn quic(&self, server: Endpoint) -> Result<Plan, PlanError> {
        let seed = self.seed.derive("quic");
        let version = self.quic_version(|_| true, &mut Prng::derived(&seed, "version"))?;
        let hidden = matches!(version, Version::Hidden | Version::Decoy);
        Ok(Plan {
            server,
            version,
            key: KeyText::new(self.entry.required_text("sshObfuscatedKey")?),
            server_name: self.keep_or(Choice::SERVER_NAME, || {
                let mut prng = Prng::derived(&seed, "server-name");
                host_name::select(&self.parameters.host_names, TunnelProtocol::QUIC_OSSH, &mut prng)
            }),
            nonce_transform: if hidden { self.nonce_transform()? } else { None },
            seed: self.keep_seed_or(Choice::QUIC, || seed.clone()),
        })
    }

    /// HTTP/3 to a front.
    pub(super) fn fronted_meek_quic(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<TransportPlan, PlanError> {
        let seed = self.seed.derive("meek");
        let front = self.front(&seed)?;
        let server_name = match self.entry.flag("meekFrontingDisableSNI") {
            true => NO_NAME.to_owned(),
            false => self.server_name(protocol, &seed).unwrap_or_else(|| front.address.clone()),
        };
        let provider = self.entry.text("frontingProviderID").unwrap_or_default();
        let disabled = self.parameters.quic.disable_fronting_provider_versions.get(provider);
        let works = |name: QuicVersion| {
            let plain = matches!(name, QuicVersion::V1 | QuicVersion::RandomizedV1);
            plain && disabled.is_none_or(|disabled| !disabled.contains(&name))
        };
        let version = self.quic_version(works, &mut Prng::derived(&seed, "version"))?;
        let plan = FrontPlan {
            front: endpoint(&front.address, port),
            server_name,
            shuffled: version == Version::Randomized,
            seed: self.keep_seed_or(Choice::QUIC, || seed.derive("quic")),
        };
        self.meek(protocol, &seed, Route::Http3(Box::new(plan)), (front.host, None))
    }

    fn quic_version(
        &self,
        works: impl Fn(QuicVersion) -> bool,
        prng: &mut Prng,
    ) -> Result<Version, PlanError> {
        let parameters = &self.parameters.quic;
        let limited = prng.flip_weighted_coin(parameters.limit_versions_probability.get());
        let limits = if limited { parameters.limit_versions.as_slice() } else { &[] };
        let of_entry: Vec<&str> = self.entry.texts("limitQUICVersions").collect();
        let allowed = |name: QuicVersion| {
            works(name)
                && (limits.is_empty() || limits.contains(&name))
                && (of_entry.is_empty() || of_entry.contains(&name.name()))
        };
        let kept: Option<String> = self.kept(Choice::QUIC_VERSION);
        let kept = LOOKS.iter().find(|(name, _)| kept.as_deref() == Some(name.name()));
        let looks: Vec<_> = LOOKS.iter().filter(|(name, _)| allowed(*name)).collect();
        let (name, version) = kept.or_else(|| prng.pick(&looks).copied()).ok_or(PlanError::NoQuicVersion)?;
        self.note(Choice::QUIC_VERSION, &name.name());
        Ok(*version)
    }

    fn nonce_transform(&self) -> Result<Option<NonceTransform>, PlanError> {
        if self.entry.flag("disableObfuscatedQUICTransforms") {
            return Ok(None);
        }
        let seed = self.seed.derive("quic-nonce-transform");
        let scope = self.entry.address().to_string();
        let chosen =
            self.keep_or_try(Choice::QUIC_NONCE, || transform(&self.parameters.quic_nonce, &scope, &seed))?;
        let Some(StoredTransform { name, steps, seed }) = chosen else { return Ok(None) };
        Ok(Some(NonceTransform { name, transform: Transform::new(&pairs(&steps))?, seed: seed.0 }))
    }
}
