//! What shapes a dial beside its look: where a front wants it, how long it may take, and how long its tunnel waits before it
//! is used. Chosen with the plan, so that a replay waits as what it repeats did. Source: PROTOCOL.md 8.

use std::net::IpAddr;
use std::time::Duration;

use culvert_obfuscation::Prng;
use culvert_protocol::parameters::HoldOff;
use culvert_protocol::{ServerEntry, TunnelProtocol};

use super::choices::Choice;
use super::draft::Draft;
use crate::establish::{is_fronted, provider_is_meant};
use crate::notice::DialOrigin;

impl Draft<'_> {
    /// The address that a front has named, of which this dial makes use. One that begins to, or does no longer, is no replay: it
    /// reaches another part of the front.
    pub(super) fn steer(&mut self, protocol: TunnelProtocol) -> Option<IpAddr> {
        let before: Option<IpAddr> = self.kept(Choice::STEERING);
        let named = self.named.filter(|_| is_fronted(protocol));
        // By chance only where it would be news: not now and then.
        let probability = self.parameters.fronting.steering_ip_probability;
        let begins = |_: &IpAddr| probability.happens(&mut Prng::derived(self.seed, "steering"));
        let steering = if before.is_some() { named } else { named.filter(begins) };
        if steering != before {
            self.origin = DialOrigin::Fresh;
        }
        if let Some(address) = &steering {
            self.note(Choice::STEERING, address);
        }
        steering
    }

    /// By how much the timeouts of this dial are longer. One that is outside of what is drawn now was chosen under other
    /// parameters.
    pub(super) fn latency(&self) -> f64 {
        let of = &self.parameters.latency;
        let kept: Option<f64> = self.kept(Choice::LATENCY);
        let kept = kept.filter(|kept| (of.multiplier_min..=of.multiplier_max).contains(kept));
        let latency = match (of.multiplier, kept) {
            (Some(fixed), _) => fixed,
            (None, Some(kept)) => kept,
            (None, None) => of.draw(&mut Prng::derived(self.seed, "latency")),
        };
        self.note(Choice::LATENCY, &latency);
        latency.max(1.0)
    }

    /// How long a tunnel of this protocol to this server waits before it is used, so that slower but better ones may win.
    pub(super) fn hold_off(&self, protocol: TunnelProtocol) -> Option<Duration> {
        let milliseconds = self.keep_or(Choice::HOLD_OFF, || {
            let mut prng = Prng::derived(self.seed, "hold-off");
            let wait = drawn(&self.parameters.hold_off, protocol, self.entry, &mut prng);
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        });
        Some(Duration::from_millis(milliseconds)).filter(|wait| !wait.is_zero())
    }
}

/// The longest of all rules counts.
fn drawn(rules: &HoldOff, protocol: TunnelProtocol, entry: &ServerEntry, prng: &mut Prng) -> Duration {
    let front = entry.text("frontingProviderID").unwrap_or_default();
    let is_front_meant = rules.fronting_providers.iter().any(|provider| provider == front);
    let meant = [
        (
            rules.protocol_names.contains(&protocol),
            rules.protocol_probability,
            (rules.protocol_min, rules.protocol_max),
        ),
        (
            is_fronted(protocol) && is_front_meant,
            rules.fronting_probability,
            (rules.fronting_min, rules.fronting_max),
        ),
        (
            protocol.is_direct() && provider_is_meant(entry, &rules.direct_providers),
            rules.direct_probability,
            (rules.direct_min, rules.direct_max),
        ),
    ];
    let mut longest = Duration::ZERO;
    for (is_meant, probability, (least, most)) in meant {
        if is_meant && probability.happens(prng) {
            longest = longest.max(prng.period(least, most));
        }
    }
    longest
}
