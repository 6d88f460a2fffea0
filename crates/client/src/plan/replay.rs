//! Whether an earlier plan may be used again, when a plan has proved good, and what becomes of it when it fails. Pure: the time,
//! the settings and the coin are arguments. Source: PROTOCOL.md 8.

use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::Parameters;

use super::{Aspect, Choices, Fingerprint, StoredPlan};
use crate::notice::DialOrigin;

/// What a stored plan is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// What parameters and config are now.
    pub(crate) settings: Fingerprint,
    /// The server's entry as it is now.
    pub(crate) entry: Fingerprint,
}

/// What is done with a stored plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Dial by it.
    Replay(Earlier),
    /// It is never to be used again.
    Discard(Reason),
}

/// A plan that worked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Earlier {
    pub(crate) protocol: TunnelProtocol,
    pub(crate) choices: Choices,
    /// How a dial by it is announced.
    pub(crate) origin: DialOrigin,
}

/// Why a plan is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// Or of a version that this one does not know.
    #[error("it cannot be read")]
    Damaged,
    /// Or the clock has been set back.
    #[error("it is too old")]
    Expired,
    #[error("parameters or config have changed")]
    OtherSettings,
    #[error("the server's entry has changed")]
    OtherEntry,
}

/// What is done with the stored plan of a server when a dial to it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Drop,
}

/// Whether a stored plan may be used again. The coin is for settings that have changed: going on with what works is weighed
/// against trying what is new.
pub(crate) fn usable(stored: &[u8], at: &Circumstances, parameters: &Parameters, coin: &mut Prng) -> Verdict {
    let rules = &parameters.replay;
    let Ok(stored) = StoredPlan::read(stored) else { return Verdict::Discard(Reason::Damaged) };
    let expires = stored.last_used.saturating_add(rules.dial_parameters_ttl.as_secs());
    // A clock that is set back must not make plans live for ever.
    let from_the_future = stored.last_used > at.now.saturating_add(rules.dial_parameters_ttl.as_secs());
    if is_off(parameters) || expires < at.now || from_the_future {
        return Verdict::Discard(Reason::Expired);
    }
    let ignores = coin.flip_weighted_coin(rules.ignore_changed_config_state_probability.get());
    let changed = stored.settings != at.settings;
    if changed && !ignores {
        return Verdict::Discard(Reason::OtherSettings);
    }
    if stored.entry != at.entry {
        return Verdict::Discard(Reason::OtherEntry);
    }
    let origin = if changed { DialOrigin::ReplayIgnoringChange } else { DialOrigin::Replay };
    Verdict::Replay(Earlier { protocol: stored.protocol, choices: stored.choices, origin })
}

/// Whether a tunnel has shown that its plan is good.
pub(crate) fn has_proved(parameters: &Parameters, (sent, received): (u64, u64), up_for: Duration) -> bool {
    let rules = &parameters.replay;
    sent >= u64::from(rules.target_upstream_bytes)
        && received >= u64::from(rules.target_downstream_bytes)
        && up_for >= rules.target_tunnel_duration
}

/// Whether plans are neither stored nor replayed.
pub(crate) fn is_off(parameters: &Parameters) -> bool {
    parameters.replay.dial_parameters_ttl.is_zero()
}

/// What is stored once a plan has proved good.
pub(crate) fn after_success(protocol: TunnelProtocol, choices: &Choices, at: &Circumstances) -> StoredPlan {
    StoredPlan::new(protocol, choices.clone(), at.now, [at.settings, at.entry])
}

/// What becomes of the stored plan when a dial failed. A plan that was not dialed by says nothing; neither does a failure that
/// has nothing to do with how the dial looked. Of the others a part is kept, because failures have many reasons.
pub(crate) fn after_failure(
    origin: DialOrigin,
    blames_plan: bool,
    parameters: &Parameters,
    coin: &mut Prng,
) -> Fate {
    let retained = coin.flip_weighted_coin(parameters.replay.retain_failed_probability.get());
    if origin == DialOrigin::Fresh || !blames_plan || retained { Fate::Keep } else { Fate::Drop }
}

/// Whether what a plan chose of an aspect is kept in a replay.
pub(super) fn keeps(parameters: &Parameters, aspect: Aspect) -> bool {
    let parts = &parameters.replay_parts;
    match aspect {
        Aspect::ApiPadding => parts.api_request_padding,
        Aspect::Fragmentor => parts.fragmentor,
        Aspect::Fronting => parts.fronting,
        Aspect::HoldOff => parts.hold_off_tunnel,
        Aspect::HostName => parts.hostname,
        Aspect::HttpTransform => parts.http_transformer,
        // There is no switch for them.
        Aspect::Latency | Aspect::Steering => true,
        Aspect::Liveness => parts.liveness_test,
        Aspect::MeekPadding => parts.meek_payload_padding,
        Aspect::ObfuscatedQuic => parts.obfuscated_quic,
        Aspect::OsshPrefix => parts.ossh_prefix,
        Aspect::OsshSeed => parts.ossh_seed_transformer,
        Aspect::Padding => parts.obfuscator_padding,
        Aspect::QuicNonce => parts.obfuscated_quic_nonce,
        Aspect::QuicVersion => parts.quic_version,
        Aspect::Resolving => parts.resolve_parameters,
        Aspect::ShadowsocksPrefix => parts.shadowsocks_prefix,
        Aspect::Ssh => parts.ssh,
        Aspect::TlsFragments => parts.tls_fragment_client_hello,
        Aspect::TlsProfile => parts.tls_profile,
        Aspect::UserAgent => parts.user_agent,
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;
    use culvert_protocol::parameters::Probability;

    use super::*;

    const DAY: u64 = 24 * 3600;
    const NOW: u64 = 1_800_000_000;

    fn coin() -> Prng {
        Prng::new(&Seed::from_bytes([1; 32]))
    }

    fn at(now: u64) -> Circumstances {
        Circumstances { now, settings: Fingerprint::of(b"settings"), entry: Fingerprint::of(b"entry") }
    }

    fn stored() -> Vec<u8> {
        after_success(TunnelProtocol::OSSH, &Choices::default(), &at(NOW)).write()
    }

    fn outcome(stored: &[u8], at: &Circumstances, parameters: &Parameters) -> Result<DialOrigin, Reason> {
        match usable(stored, at, parameters, &mut coin()) {
            Verdict::Replay(earlier) => Ok(earlier.origin),
            Verdict::Discard(reason) => Err(reason),
        }
    }

    #[test]
    fn plans_are_replayed_for_a_day_under_the_same_circumstances() {
        let parameters = Parameters::default();
        let other = Fingerprint::of(b"other");
        let table = [
            ("at once", at(NOW), Ok(DialOrigin::Replay)),
            ("a day later", at(NOW + DAY), Ok(DialOrigin::Replay)),
            ("later", at(NOW + DAY + 1), Err(Reason::Expired)),
            ("the clock went back", at(NOW - DAY), Ok(DialOrigin::Replay)),
            ("and further", at(NOW - DAY - 1), Err(Reason::Expired)),
            ("settings", Circumstances { settings: other, ..at(NOW) }, Err(Reason::OtherSettings)),
            ("entry", Circumstances { entry: other, ..at(NOW) }, Err(Reason::OtherEntry)),
        ];
        for (what, at, expected) in table {
            assert_eq!(outcome(&stored(), &at, &parameters), expected, "{what}");
        }
    }

    #[test]
    fn changed_settings_may_be_ignored_and_replay_may_be_off() {
        let mut parameters = Parameters::default();
        let changed = Circumstances { settings: Fingerprint::of(b"other"), ..at(NOW) };
        parameters.replay.ignore_changed_config_state_probability = Probability::ALWAYS;
        assert_eq!(outcome(&stored(), &changed, &parameters), Ok(DialOrigin::ReplayIgnoringChange));
        assert_eq!(outcome(&stored(), &at(NOW), &parameters), Ok(DialOrigin::Replay));
        parameters.replay.dial_parameters_ttl = Duration::ZERO;
        assert_eq!(outcome(&stored(), &at(NOW), &parameters), Err(Reason::Expired));
        assert!(is_off(&parameters));
    }

    #[test]
    fn what_cannot_be_read_is_no_plan() {
        let parameters = Parameters::default();
        let whole = stored();
        for end in 0..whole.len() {
            let part = &whole[..end];
            assert_eq!(outcome(part, &at(NOW), &parameters), Err(Reason::Damaged), "{end} bytes");
        }
        let later = String::from_utf8(whole).unwrap().replace("\"format\":1", "\"format\":2");
        assert_eq!(outcome(later.as_bytes(), &at(NOW), &parameters), Err(Reason::Damaged));
    }

    #[test]
    fn a_plan_proves_itself_by_time_and_bytes() {
        let mut parameters = Parameters::default();
        let second = Duration::from_secs(1);
        assert!(has_proved(&parameters, (0, 0), second));
        assert!(!has_proved(&parameters, (9, 9), second / 2));
        parameters.replay.target_upstream_bytes = 5;
        parameters.replay.target_downstream_bytes = 7;
        assert!(!has_proved(&parameters, (4, 7), second));
        assert!(!has_proved(&parameters, (5, 6), second));
        assert!(has_proved(&parameters, (5, 7), second));
    }

    #[test]
    fn only_replays_that_failed_by_their_looks_lose_their_plan() {
        let mut parameters = Parameters::default();
        parameters.replay.retain_failed_probability = Probability::NEVER;
        let fate = |origin, blames_plan, parameters: &Parameters| {
            after_failure(origin, blames_plan, parameters, &mut coin())
        };
        assert_eq!(fate(DialOrigin::Replay, true, &parameters), Fate::Drop);
        assert_eq!(fate(DialOrigin::ReplayIgnoringChange, true, &parameters), Fate::Drop);
        assert_eq!(fate(DialOrigin::Replay, false, &parameters), Fate::Keep);
        assert_eq!(fate(DialOrigin::Fresh, true, &parameters), Fate::Keep);
        parameters.replay.retain_failed_probability = Probability::ALWAYS;
        assert_eq!(fate(DialOrigin::Replay, true, &parameters), Fate::Keep);
    }
}
