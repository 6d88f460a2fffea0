//! The plan of a TLS connection: which browser's ClientHello, and what is changed in it. Source: TRANSPORTS.md 1.1, 1.2, 1.4, 1.5.

use std::sync::Arc;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::parameters::{CustomTlsProfile, TlsProfileName};
use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::tls::{
    ClientSettings, HelloEdits, PassthroughKey, Plan, Profile, SessionId, Split, TicketSecret, Verify,
    profiles,
};
use culvert_transport::{Endpoint, TransportPlan};
use serde::{Deserialize, Serialize};

use super::choices::{Choice, StoredSeed};
use super::draft::Draft;
use super::{PlanError, host_name};

/// What shapes a ClientHello besides the parameters.
pub(super) struct HelloWishes {
    /// The protocol.
    pub(super) protocol: TunnelProtocol,
    /// Whether only TLS 1.3 will do.
    pub(super) only_tls13: bool,
    /// What the server name says; `None` leaves it out.
    pub(super) server_name: Option<String>,
    /// Bytes of padding.
    pub(super) padding: Option<u16>,
    /// What tickets are made from, where one is to be offered.
    pub(super) ticket_secret: Option<TicketSecret>,
    /// Who must answer.
    pub(super) verify: Verify,
}

impl Draft<'_> {
    /// TLS-OSSH.
    pub(super) fn tls(&self, server: Endpoint) -> Result<Plan, PlanError> {
        let protocol = TunnelProtocol::TLS_OSSH;
        let seed = self.seed.derive("tls");
        let of = &self.parameters.tls;
        let key = self.entry.required_text("meekObfuscatedKey")?;
        let offers_ticket = self.keep_or(Choice::TLS_TICKET, || {
            Prng::derived(&seed, "ticket").flip_weighted_coin(of.obfuscated_psk_probability.get())
        });
        let settings = self.client_hello(
            HelloWishes {
                protocol,
                only_tls13: true,
                server_name: self.server_name(protocol, &seed),
                padding: self.keep_or(Choice::HELLO_PADDING, || self.hello_padding(&seed)),
                ticket_secret: TicketSecret::from_hex(key).filter(|_| offers_ticket),
                // The server shows who it is by its SSH key.
                verify: Verify::Skip,
            },
            &seed,
        )?;
        let passthrough = Some(self.passthrough_key(protocol, key));
        Ok(Plan { server, settings, passthrough })
    }

    /// What proves to the server that the client has its key.
    pub(super) fn passthrough_key(&self, protocol: TunnelProtocol, key: &str) -> PassthroughKey {
        PassthroughKey::new(key, !self.entry.uses_legacy_passthrough(protocol))
    }

    /// The name of another host, or none.
    pub(super) fn server_name(&self, protocol: TunnelProtocol, seed: &Seed) -> Option<String> {
        let names = &self.parameters.host_names;
        let mut prng = Prng::derived(seed, "server-name");
        self.keep_or(Choice::SERVER_NAME, || {
            host_name::transforms(names, &mut prng).then(|| host_name::select(names, protocol, &mut prng))
        })
    }

    /// A ClientHello by the parameters.
    pub(super) fn client_hello(&self, wishes: HelloWishes, seed: &Seed) -> Result<ClientSettings, PlanError> {
        let of = &self.parameters.tls;
        let profile = self.profile(&wishes, seed)?;
        let takes_ticket =
            profile.takes_pre_shared_key() || profile.takes_tls12_ticket() && !profile.offers_tls13();
        let ticket_secret = wishes.ticket_secret.filter(|_| takes_ticket);
        // Browsers that offer TLS 1.3 always send one. RFC 8446 appendix D.4.
        let may_lack_session_id = ticket_secret.is_none() && (!profile.offers_tls13() || profile.is_drawn());
        let lacks_session_id = self.keep_or(Choice::TLS_SESSION_ID, || {
            let mut coin = Prng::derived(seed, "session-id");
            coin.flip_weighted_coin(of.no_default_session_id_probability.get())
        });
        let lacks_session_id = may_lack_session_id && lacks_session_id;
        let limits = &of.fragment_client_hello_limit_protocols;
        let splits = self.keep_or(Choice::HELLO_SPLIT, || {
            (limits.is_empty() || limits.contains(&wishes.protocol))
                && Prng::derived(seed, "split").flip_weighted_coin(of.fragment_client_hello_probability.get())
        });
        Ok(ClientSettings {
            profile,
            edits: HelloEdits {
                server_name: wishes.server_name,
                session_id: if lacks_session_id { SessionId::LeftOut } else { SessionId::Kept },
                padding: wishes.padding,
            },
            split: if splits { Split::AtServerName } else { Split::Whole },
            verify: wishes.verify,
            ticket_secret,
        })
    }

    fn profile(&self, wishes: &HelloWishes, seed: &Seed) -> Result<Arc<Profile>, PlanError> {
        let kept: Option<StoredProfile> = self.kept(Choice::TLS_PROFILE);
        // One that this version no longer has is no longer worth sending.
        if let Some((kept, profile)) = kept.and_then(|kept| Some((self.stored_profile(&kept, wishes)?, kept)))
        {
            self.note(Choice::TLS_PROFILE, &profile);
            return Ok(kept);
        }
        let drawn = StoredSeed(seed.derive("drawn"));
        let profile = self.new_profile(wishes, &drawn.0, &mut Prng::derived(seed, "profile"))?;
        let drawn = profile.is_drawn().then_some(drawn);
        self.note(Choice::TLS_PROFILE, &StoredProfile { name: profile.name().to_owned(), drawn });
        Ok(profile)
    }

    fn stored_profile(&self, stored: &StoredProfile, wishes: &HelloWishes) -> Option<Arc<Profile>> {
        if let Some(seed) = &stored.drawn {
            let allowed = !self.is_disabled(wishes.protocol, profiles::DRAWN);
            return allowed.then(|| Arc::new(profiles::drawn(&seed.0, wishes.only_tls13)));
        }
        let custom = self.parameters.tls.custom_profiles.iter().filter_map(custom_profile);
        let named = custom.chain(profiles::named(&stored.name)).find(|profile| profile.name() == stored.name);
        named
            .filter(|profile| !self.is_disabled(wishes.protocol, profile.name()))
            .filter(|profile| profile.offers_tls13() || !wishes.only_tls13)
    }

    fn new_profile(
        &self,
        wishes: &HelloWishes,
        drawn: &Seed,
        choice: &mut Prng,
    ) -> Result<Arc<Profile>, PlanError> {
        let of = &self.parameters.tls;
        let limited = choice.flip_weighted_coin(of.limit_profiles_probability.get());
        let limits: &[TlsProfileName] = if limited { &of.limit_profiles } else { &[] };
        let listed = |name: &str| limits.iter().any(|limit| limit.as_str() == name);
        let custom = of.custom_profiles.iter().filter_map(custom_profile);
        let built_in = profiles::all().iter().filter(|_| !of.only_custom_profiles);
        // Old ones are for those who ask for them: few browsers send them any more.
        let built_in =
            built_in.filter(|profile| listed(profile.name()) || limits.is_empty() && profile.is_current());
        let fits = |profile: &Arc<Profile>| {
            let by_limits = if limits.is_empty() {
                // What stands in front of others' servers may answer more than ours do.
                wishes.verify == Verify::Skip || profile.is_answerable()
            } else {
                listed(profile.name())
            };
            by_limits
                && !self.is_disabled(wishes.protocol, profile.name())
                && (profile.offers_tls13() || !wishes.only_tls13)
        };
        let parrots: Vec<Arc<Profile>> = custom.chain(built_in.cloned()).filter(fits).collect();
        let may_be_drawn = (limits.is_empty() || listed(profiles::DRAWN))
            && !self.is_disabled(wishes.protocol, profiles::DRAWN);
        let wants_drawn = choice.flip_weighted_coin(of.select_randomized_probability.get());
        if may_be_drawn && (wants_drawn || parrots.is_empty()) {
            return Ok(Arc::new(profiles::drawn(drawn, wishes.only_tls13)));
        }
        choice.pick(&parrots).cloned().ok_or(PlanError::NoTlsProfile)
    }

    /// Whether a profile does not work with the entry's front.
    fn is_disabled(&self, protocol: TunnelProtocol, profile: &str) -> bool {
        let provider = self.entry.text("frontingProviderID").filter(|_| protocol.has(Feature::Fronted));
        let disabled = provider.and_then(|it| self.parameters.tls.disable_fronting_provider_profiles.get(it));
        disabled.is_some_and(|names| names.iter().any(|name| name.as_str() == profile))
    }

    fn hello_padding(&self, seed: &Seed) -> Option<u16> {
        let of = &self.parameters.tls;
        let mut prng = Prng::derived(seed, "padding");
        if !prng.flip_weighted_coin(of.traffic_shaping_probability.get()) {
            return None;
        }
        let padding = prng.range_u32(of.min_padding, of.max_padding.max(of.min_padding));
        u16::try_from(padding).ok().filter(|padding| *padding > 0)
    }
}

/// A profile as stored: those of this version and of the parameters by name.
#[derive(Serialize, Deserialize)]
struct StoredProfile {
    name: String,
    /// What a profile that is nobody's was drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drawn: Option<StoredSeed>,
}

/// What is reported of a TLS connection.
pub(crate) fn report(transport: &TransportPlan) -> Option<(&str, Option<&str>)> {
    let TransportPlan::Tls(plan) = transport else { return None };
    Some((plan.settings.profile.name(), plan.settings.edits.server_name.as_deref()))
}

/// A profile that came with the parameters, in our text form; those in the reference's form are for the reference.
fn custom_profile(custom: &CustomTlsProfile) -> Option<Arc<Profile>> {
    let text = custom.definition.get("ClientHello")?.as_str()?;
    Profile::parse(text).ok().filter(|profile| profile.name() == custom.name.as_str()).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use culvert_protocol::parameters::TlsProfileName;
    use culvert_transport::tls::profiles;

    #[test]
    fn every_profile_can_be_named_and_every_name_has_a_profile() {
        let mut named = TlsProfileName::KNOWN.to_vec();
        let mut there: Vec<&str> = profiles::all().iter().map(|profile| profile.name()).collect();
        there.push(profiles::DRAWN);
        named.sort_unstable();
        there.sort_unstable();
        assert_eq!(named, there);
    }
}
