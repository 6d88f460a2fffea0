//! How one server will be dialed: plain data, settled before any I/O.
//!
//! Planning is a pure function of the entry, the settings, a seed and the choices of an earlier plan. Everything random comes
//! from that seed, one stream for each choice, so that adding a choice moves no other; only key material and the
//! obfuscator's seed, which must never repeat, are drawn when dialing.

mod choices;
mod draft;
mod host_name;
mod meek;
mod quic;
pub(crate) mod replay;
mod salt_prefix;
mod stored;
mod tls;
mod user_agent;
mod waits;

pub(crate) use choices::{Aspect, Choices};
pub(crate) use meek::report as meek_report;
pub(crate) use quic::look as quic_look;
pub(crate) use replay::Earlier;
pub use stored::{BadPlan, Fingerprint, StoredPlan};
pub(crate) use tls::report as tls_report;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use choices::{Choice, StoredPrefix, StoredSeed, StoredTransform};
use draft::Draft;

use culvert_obfuscation::{
    BuiltinPrefix, PaddingRange, PrefixError, PrefixName, PrefixPlan, PrefixSpec, Prng, ScopedNames, Seed,
    ServerSeedLabel, Transform, TransformError, identification,
};
use culvert_protocol::parameters::{Parameters, Transforms};
use culvert_protocol::server_entry::{DialPortError, FieldError};
use culvert_protocol::{BaseProtocol, Feature, ServerEntry, TunnelProtocol};
use culvert_ssh::kexinit::{self, OfferPolicy};
use culvert_ssh::names::CipherName;
use culvert_ssh::{Negotiated, Role, ServerKind};
use culvert_transport::resolve::{FrontName, ResolvePlan};
use culvert_transport::tcp::First;
use culvert_transport::upstream::CustomHeaders;
use culvert_transport::{Endpoint, TransportPlan, fragmentor, shadowsocks, tcp};

use crate::notice::DialOrigin;

/// How one server will be dialed.
#[derive(Clone)]
pub(crate) struct DialPlan {
    /// What is spoken.
    pub(crate) protocol: TunnelProtocol,
    /// How bytes get there.
    pub(crate) transport: TransportPlan,
    /// How the name that is dialed is resolved, where it is one.
    pub(crate) resolving: Option<ResolvePlan>,
    /// Cuts early writes of the transport's TCP connections into more segments than a handshake inside would take.
    pub(crate) splitting: (Seed, First),
    /// How the first bytes of the transport's TCP connections are cut up.
    pub(crate) fragmentor: Option<(fragmentor::Settings, Seed)>,
    /// The spec of the transport's own prefix, for reports.
    pub(crate) transport_prefix: Option<String>,
    /// `None` for plain SSH.
    pub(crate) obfuscated_ssh: Option<ObfuscatedSshPlan>,
    /// The SSH connection itself.
    pub(crate) ssh: SshPlan,
    /// Padding of API messages.
    pub(crate) api_padding_seed: Seed,
    /// Bytes of a liveness test, and how many.
    pub(crate) liveness_seed: Seed,
    /// By which timeouts are longer.
    pub(crate) latency: f64,
    /// Where all connections go instead, if the front has said that it is better dialed there.
    pub(crate) steering: Option<IpAddr>,
    /// How long the tunnel waits before it is used.
    pub(crate) hold_off: Option<Duration>,
    /// What is stored of it.
    pub(crate) choices: Choices,
    /// Whether it is a replay.
    pub(crate) origin: DialOrigin,
}

/// The obfuscation layer.
#[derive(Clone)]
pub(crate) struct ObfuscatedSshPlan {
    /// Padding of preamble and key exchange.
    pub(crate) padding_seed: Seed,
    /// Length of the preamble's padding.
    pub(crate) padding: PaddingRange,
    /// What the first bytes look like.
    pub(crate) prefix: Option<PrefixPlan>,
    /// How the obfuscator seed is rewritten.
    pub(crate) seed_transform: Option<(String, Transform, Seed)>,
}

/// The SSH connection.
#[derive(Clone)]
pub(crate) struct SshPlan {
    /// Our identification.
    pub(crate) ident: String,
    /// Order of our algorithms.
    pub(crate) kex_seed: Seed,
    /// What the server's lists are drawn from, where it randomises them.
    pub(crate) peer_seed: Option<Seed>,
    /// Whether the outcome is known before the server speaks.
    pub(crate) server: ServerKind,
    /// No encrypt-then-MAC names: every protocol but plain SSH. PROTOCOL.md 3.3.2.
    pub(crate) no_encrypt_then_mac: bool,
}

/// Why no plan can be made. The entry or the settings are at fault, not the network.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The protocol exists, but not in this build.
    #[error("{0} is not supported by this version")]
    Unsupported(TunnelProtocol),
    /// The entry names no usable port.
    #[error("server entry: {0}")]
    Port(#[from] DialPortError),
    /// A field of the entry is missing or wrong.
    #[error("server entry: {0}")]
    Field(#[from] FieldError),
    /// A prefix or transform spec in the settings.
    #[error("prefix or seed transform: {0}")]
    Spec(#[from] TransformError),
    /// A name of a prefix spec in the settings.
    #[error("OSSH prefix: {0}")]
    Prefix(#[from] PrefixError),
    /// The entry and the settings have no version of QUIC in common that this build speaks.
    #[error(
        "no QUIC version that this program speaks is allowed by both the server entry and LimitQUICVersions"
    )]
    NoQuicVersion,
    /// The parameters leave no profile.
    #[error("no TLS profile that fits is allowed by LimitTLSProfiles and UseOnlyCustomTLSProfiles")]
    NoTlsProfile,
    /// The same of a Shadowsocks prefix.
    #[error(transparent)]
    SaltPrefix(#[from] shadowsocks::PrefixTooLong),
    /// The entry names no front.
    #[error("server entry: {0} is missing or of no use: there is no front to dial")]
    NoFront(&'static str),
    /// The parameters allow names only.
    #[error("the server is reached by an address, and MeekDialDomainsOnly allows names only")]
    NoName,
    /// The key for meek cookies.
    #[error("server entry: meekCookieEncryptionPublicKey is not the base64 of 32 bytes")]
    MeekKey,
}

/// Makes plans for one server.
pub(crate) struct Planner<'a> {
    /// The server.
    pub(crate) entry: &'a ServerEntry,
    /// How connections may look.
    pub(crate) parameters: &'a Parameters,
    /// All choices come from here.
    pub(crate) seed: Seed,
    /// Which outcomes of the algorithm draw are good.
    pub(crate) wanted: Wanted,
    /// What is known of the server's side of it.
    pub(crate) server: ServerKind,
    /// An earlier plan that may be replayed. Its choices are kept aspect by aspect as the parameters allow, where it is for the
    /// same protocol.
    pub(crate) earlier: Option<&'a Earlier>,
    /// An address at which the server's front is better dialed, where it has said so.
    pub(crate) steering: Option<IpAddr>,
    /// What meek requests carry besides their own headers, as the config says.
    pub(crate) headers: &'a CustomHeaders,
}

/// What a draw should end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whatever is drawn.
    Any,
    /// A key exchange that keeps neither side busy for long.
    Quick,
    /// That, and AES-GCM, rather with the shorter key.
    QuickWithAesGcm,
}

impl Wanted {
    /// What costs least on this processor.
    pub(crate) fn for_this_processor() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let has_aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Self::QuickWithAesGcm } else { Self::Quick }
    }

    /// How far an outcome is from what is wanted: 0 is no better to be had.
    fn cost(self, agreed: &Negotiated) -> u8 {
        let slow = u8::from(agreed.kex.is_modp());
        let ciphers = [agreed.cipher_c2s, agreed.cipher_s2c];
        match self {
            Self::Any => 0,
            Self::Quick => slow,
            // The longer key costs four rounds in fourteen.
            Self::QuickWithAesGcm if ciphers == [CipherName::Aes128Gcm; 2] => 3 * slow,
            Self::QuickWithAesGcm if ciphers.into_iter().all(CipherName::is_aes_gcm) => 3 * slow + 1,
            Self::QuickWithAesGcm => 3 * slow + 2,
        }
    }
}

/// Draws of the algorithm lists for one plan. One in eight ends in AES-128-GCM and a quick key exchange.
const MOST_DRAWS: u32 = 48;

impl Planner<'_> {
    /// The plan for one protocol.
    pub(crate) fn plan(&self, protocol: TunnelProtocol) -> Result<DialPlan, PlanError> {
        Draft::new(self, protocol).plan(protocol)
    }
}

impl Draft<'_> {
    fn plan(mut self, protocol: TunnelProtocol) -> Result<DialPlan, PlanError> {
        if protocol.uses_inproxy() {
            return Err(PlanError::Unsupported(protocol));
        }
        let port = self.entry.dial_port(protocol)?;
        let server = Endpoint::Address(SocketAddr::new(self.entry.address(), port));
        let (transport, transport_prefix) = match protocol.base() {
            BaseProtocol::Ssh | BaseProtocol::Ossh => (TransportPlan::Tcp(tcp::Plan { server }), None),
            BaseProtocol::Shadowsocks => {
                let (plan, prefix) = self.shadowsocks(server, port)?;
                (TransportPlan::Shadowsocks(plan), prefix)
            }
            BaseProtocol::UnfrontedMeek => (self.unfronted_meek(protocol, port)?, None),
            BaseProtocol::UnfrontedMeekHttps | BaseProtocol::UnfrontedMeekSessionTicket => {
                (self.unfronted_meek_https(protocol, port)?, None)
            }
            BaseProtocol::FrontedMeek => (self.fronted_meek(protocol, port)?, None),
            BaseProtocol::FrontedMeekQuic => (self.fronted_meek_quic(protocol, port)?, None),
            BaseProtocol::FrontedMeekHttp => (self.fronted_meek_http(protocol, port)?, None),
            BaseProtocol::TlsOssh => (TransportPlan::Tls(Box::new(self.tls(server)?)), None),
            BaseProtocol::Quic => (TransportPlan::Quic(self.quic(server)?), None),
            _ => return Err(PlanError::Unsupported(protocol)),
        };
        let obfuscated = protocol.obfuscates_ssh();
        // Only where nothing is around it does the obfuscation layer's beginning show.
        let shows = protocol.base() == BaseProtocol::Ossh;
        let obfuscated_ssh = obfuscated.then(|| self.obfuscated_ssh(port, shows)).transpose()?;
        let has_prefix = obfuscated_ssh.as_ref().is_some_and(|ossh| ossh.prefix.is_some());
        let resolving = transport.host_name().map(|name| self.resolving(name));
        let steering = self.steer(protocol);
        let splitting = self.keep_seed_or(Choice::SPLITTING, || self.seed.derive("splitting"));
        Ok(DialPlan {
            protocol,
            transport,
            resolving,
            splitting: (splitting, first_write(protocol)),
            fragmentor: self.fragmentor(protocol, has_prefix),
            transport_prefix,
            obfuscated_ssh,
            ssh: self.ssh(obfuscated),
            api_padding_seed: self.keep_seed_or(Choice::API_PADDING, || self.seed.derive("api-padding")),
            liveness_seed: self.keep_seed_or(Choice::LIVENESS, || self.seed.derive("liveness")),
            latency: self.latency(),
            steering,
            hold_off: self.hold_off(protocol),
            origin: self.origin,
            choices: self.into_choices(),
        })
    }

    /// Only names of fronts are ever dialed.
    fn resolving(&self, name: &str) -> ResolvePlan {
        let provider = self.entry.text("frontingProviderID").filter(|provider| !provider.is_empty());
        let front = provider.map(|provider| FrontName { provider, name });
        let multiplier = self.parameters.latency.general();
        let seed = self.seed.derive("resolving");
        self.keep_or(Choice::RESOLVING, || ResolvePlan::draw(self.parameters, multiplier, front, &seed))
    }

    /// A prefix must be found in the first segment: it is left whole, unless parameters say otherwise. TRANSPORTS.md 6.6.
    fn fragmentor(&self, protocol: TunnelProtocol, has_prefix: bool) -> Option<(fragmentor::Settings, Seed)> {
        let allowed = protocol.has(Feature::Fragmentor)
            && (!has_prefix || self.parameters.ossh.prefix_enable_fragmentor);
        let settings = fragmentor::Settings::of_client(&self.parameters.fragmentor, protocol);
        let settings = settings.filter(|_| allowed)?;
        Some((settings, self.keep_seed_or(Choice::FRAGMENTOR, || self.seed.derive("fragmentor"))))
    }

    fn ssh(&self, obfuscated: bool) -> SshPlan {
        // PROTOCOL.md 3.3.2: a plain SSH server draws its lists from the entry's key, if it has one.
        let key = self.entry.text("sshObfuscatedKey").filter(|_| !obfuscated);
        let mut policy = OfferPolicy {
            role: Role::Client,
            no_encrypt_then_mac: obfuscated,
            seed: None,
            peer_seed: key.map(|key| Seed::for_server(key.as_bytes(), ServerSeedLabel::KeyExchange)),
            host_key_names: Vec::new(),
        };
        let ident = || identification(&mut Prng::new(&self.seed.derive("ssh-version")));
        let kex_seed = self
            .keep_seed_or(Choice::SSH_KEX, || draw(&self.seed.derive("ssh-kex"), &mut policy, self.wanted));
        SshPlan {
            ident: self.keep_or(Choice::SSH_IDENT, ident),
            kex_seed,
            peer_seed: policy.peer_seed,
            server: self.server,
            no_encrypt_then_mac: obfuscated,
        }
    }

    fn obfuscated_ssh(&self, port: u16, shows: bool) -> Result<ObfuscatedSshPlan, PlanError> {
        let length = |value: u32| usize::try_from(value).ok();
        let ossh = &self.parameters.ossh;
        let prefix = if shows { self.prefix(port)? } else { None };
        // PROTOCOL.md 2.3: a prefix supersedes a seed transform.
        let seed_transform = if shows && prefix.is_none() { self.seed_transform()? } else { None };
        Ok(ObfuscatedSshPlan {
            padding_seed: self.keep_seed_or(Choice::OSSH_PADDING, || self.seed.derive("ossh-padding")),
            padding: PaddingRange::new(length(ossh.min_padding), length(ossh.max_padding)),
            prefix,
            seed_transform,
        })
    }

    /// The prefix: from the settings' specs where they name any, else one of our own, because a connection
    /// that looks like noise from its first byte is what censors block first.
    fn prefix(&self, port: u16) -> Result<Option<PrefixPlan>, PlanError> {
        if self.entry.flag("disableOSSHPrefix") {
            return Ok(None);
        }
        let kept: Option<Option<StoredPrefix>> = self.kept(Choice::OSSH_PREFIX);
        let kept = kept.and_then(|stored| stored.map(StoredPrefix::into_preamble));
        let plan = match kept {
            Some(Some(plan)) => Some(plan),
            _ => self.new_prefix(port)?,
        };
        self.note(Choice::OSSH_PREFIX, &plan.as_ref().and_then(StoredPrefix::of_preamble));
        Ok(plan)
    }

    fn new_prefix(&self, port: u16) -> Result<Option<PrefixPlan>, PlanError> {
        let settings = &self.parameters.ossh_prefix;
        let seed = self.seed.derive("ossh-prefix");
        let mut choice = Prng::derived(&seed, "choice");
        if !choice.flip_weighted_coin(settings.probability.get()) {
            return Ok(None);
        }
        let spec_seed = seed.derive("spec");
        let split = self.prefix_split(&mut Prng::derived(&seed, "split"));
        if settings.specs.is_empty() {
            let builtin = BuiltinPrefix::pick(&mut choice);
            let prefix = builtin.for_client(&spec_seed);
            return Ok(Some(PrefixPlan { name: builtin.name(), prefix, split }));
        }
        let specs = specs(settings, PrefixSpec::new)?;
        let Some((name, spec)) = select(settings, &specs, port_scope(port), &mut choice) else {
            return Ok(None);
        };
        let prefix = spec.prefix(&spec_seed)?;
        Ok(Some(PrefixPlan { name: PrefixName::new(name)?, prefix, split }))
    }

    /// The pause behind the prefix, where one is asked for.
    fn prefix_split(&self, prng: &mut Prng) -> Option<Duration> {
        let ossh = &self.parameters.ossh;
        let least = ossh.prefix_split_min_delay;
        let most = ossh.prefix_split_max_delay.max(least);
        (!most.is_zero()).then(|| prng.period(least, most))
    }

    fn seed_transform(&self) -> Result<Option<(String, Transform, Seed)>, PlanError> {
        if self.entry.flag("disableOSSHTransforms") {
            return Ok(None);
        }
        let seed = self.seed.derive("ossh-seed-transform");
        let chosen =
            self.keep_or_try(Choice::OSSH_SEED, || transform(&self.parameters.ossh_seed, "", &seed))?;
        let Some(StoredTransform { name, steps, seed }) = chosen else { return Ok(None) };
        Ok(Some((name, Transform::new(&pairs(&steps))?, seed.0)))
    }
}

/// One of the settings' transforms for a scope, if one is to be used at all.
fn transform(settings: &Transforms, scope: &str, seed: &Seed) -> Result<Option<StoredTransform>, PlanError> {
    let mut choice = Prng::derived(seed, "choice");
    if !choice.flip_weighted_coin(settings.probability.get()) {
        return Ok(None);
    }
    let compiled = specs(settings, Transform::new)?;
    let chosen = select(settings, &compiled, scope.to_owned(), &mut choice);
    Ok(chosen.map(|(name, _)| StoredTransform {
        steps: settings.specs.get(&name).cloned().unwrap_or_default(),
        name,
        seed: StoredSeed(seed.derive("spec")),
    }))
}

/// What begins like another protocol keeps its beginning.
fn first_write(protocol: TunnelProtocol) -> First {
    match protocol.base() {
        BaseProtocol::Ssh | BaseProtocol::Ossh | BaseProtocol::Shadowsocks => First::Any,
        _ => First::Whole,
    }
}

/// Prefixes are chosen by port. PROTOCOL.md 2.5.
fn port_scope(port: u16) -> String {
    port.to_string()
}

fn select<'s, S>(
    settings: &Transforms,
    specs: &'s BTreeMap<String, S>,
    scope: String,
    prng: &mut Prng,
) -> Option<(String, &'s S)> {
    let names = ScopedNames::new(settings.scoped_names.clone());
    let name = names.select(&scope, specs, prng).map(|(name, _)| name.to_owned())?;
    specs.get(&name).map(|spec| (name, spec))
}

/// Draws the order of algorithms. Draws that end in a method that must not be used are drawn again, and so are those that
/// end in something slow: a cipher other than AES-GCM costs twice as much where the processor has AES, and arithmetic
/// modulo large primes keeps a busy server from its answer for a part of a round trip.
fn draw(base: &Seed, policy: &mut OfferPolicy, wanted: Wanted) -> Seed {
    let mut cheapest: Option<(u8, Seed)> = None;
    for draw in 0..MOST_DRAWS {
        let seed = base.derive(&draw.to_string());
        policy.seed = Some(seed.clone());
        let Ok(agreed) = kexinit::predict(policy, &kexinit::offer(policy, true)) else { continue };
        let cost = wanted.cost(&agreed);
        if cost == 0 {
            return seed;
        }
        if cheapest.as_ref().is_none_or(|(least, _)| cost < *least) {
            cheapest = Some((cost, seed));
        }
    }
    cheapest.map_or_else(|| base.clone(), |(_, seed)| seed)
}

fn specs<S>(
    settings: &Transforms,
    parse: impl Fn(&[(String, String)]) -> Result<S, TransformError>,
) -> Result<BTreeMap<String, S>, PlanError> {
    settings.specs.iter().map(|(name, steps)| Ok((name.clone(), parse(&pairs(steps))?))).collect()
}

fn pairs(steps: &[[String; 2]]) -> Vec<(String, String)> {
    steps.iter().map(|[matcher, generator]| (matcher.clone(), generator.clone())).collect()
}

#[cfg(test)]
pub(crate) mod tests;
