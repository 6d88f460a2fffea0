//! How connections are treated by where they come from: which are restricted, and which have the first bytes that we send cut into pieces, and
//! from which seed. Only clients that have proved to be some see pieces: strangers see nothing that tells this server from others. Decided on
//! accepting, from a snapshot of parameters, now those of the tactics file for everyone. Source: TRANSPORTS.md 6.6.

use std::collections::BTreeMap;
use std::sync::Arc;

use culvert_obfuscation::{PaddingUse, Prng, Seed, ServerPreamble};
use culvert_protocol::parameters::{DownstreamFragmentor, Probability, ServerReplay};
use culvert_protocol::{BaseProtocol, ServerEntry, TunnelProtocol};
use culvert_transport::Stream;
use culvert_transport::fragmentor::{Cuts, Settings, fragment_counted};
use tokio::time::{Instant, sleep_until};

use super::replay::{Counts, Draw, ReplayCache, Scope};
use crate::config::{Tactics, provider_of};
use crate::geoip::{GeoIp, Place};
use crate::live::Live;
use crate::session::Arrival;

/// Parameters of connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AcceptRules {
    fragmentor: DownstreamFragmentor,
    /// Also where the client has sent a prefix.
    with_prefix: bool,
    replay: ServerReplay,
    /// How likely a client that comes straight here is refused, and one that comes by a front.
    refuses_direct: Probability,
    refuses_fronted: Probability,
}

impl AcceptRules {
    /// Those for a server that has these entries.
    pub(crate) fn of(tactics: &Tactics, own_entries: &BTreeMap<String, ServerEntry>) -> Self {
        let own = |member| own_entries.values().find_map(|entry| entry.text(member)).unwrap_or_default();
        let (lists, odds) = (&tactics.restrict, &tactics.parameters.restrict);
        let regions = lists.direct_providers.get(provider_of(own_entries));
        let is_here = |region: &String| region.is_empty() || region == own("region");
        let front = own("frontingProviderID");
        let when = |applies, odds| if applies { odds } else { Probability::NEVER };
        Self {
            fragmentor: tactics.parameters.fragmentor.clone(),
            with_prefix: tactics.fragment_with_prefix,
            replay: tactics.parameters.replay.clone(),
            refuses_direct: when(
                regions.is_some_and(|regions| regions.iter().any(is_here)),
                odds.direct_probability,
            ),
            refuses_fronted: when(
                lists.fronting_providers.iter().any(|id| id == front),
                odds.fronting_probability,
            ),
        }
    }

    fn replays(&self, place: &Place) -> bool {
        let Place { country, asn, .. } = &Place::UNKNOWN;
        let is_known = place.country != *country || place.asn != *asn;
        !self.replay.ttl.is_zero() && self.replay.fragmentor && (is_known || self.replay.unknown_geoip)
    }

    /// How connections of a protocol are cut by draw; OSSH clients say how theirs are.
    fn drawn(&self, protocol: TunnelProtocol) -> Option<Settings> {
        if protocol.base() == BaseProtocol::Ossh {
            return None;
        }
        Settings::of_server(&self.fragmentor, protocol)
    }
}

/// A connection as it goes on.
pub(crate) struct Treated {
    pub(crate) stream: Stream,
    /// Counts pieces, where there will be some.
    pub(crate) cuts: Option<Arc<Cuts>>,
    /// Whether they follow from what another connection did, or the client sent. As the reference does, this is said of clients that may decide
    /// even where they have not.
    pub(crate) follows: bool,
}

impl Treated {
    fn not(stream: Stream) -> Self {
        Self { stream, cuts: None, follows: false }
    }
}

/// The treatment of all connections.
pub(crate) struct Treatment {
    rules: Live<AcceptRules>,
    cache: Arc<ReplayCache>,
    /// What draws are made into seeds with.
    secret: Seed,
}

impl Treatment {
    pub(crate) fn new(rules: AcceptRules, secret: Seed) -> Self {
        Self { rules: Live::new(rules), cache: Arc::default(), secret }
    }

    /// Other parameters hold from now on. What worked under others may not work under them.
    pub(crate) fn replace(&self, rules: AcceptRules) {
        if *self.rules.get() != rules {
            self.rules.replace(rules);
            self.cache.clear();
        }
    }

    /// Whether a client that comes straight here is refused this time.
    pub(crate) fn refuses_direct(&self, protocol: TunnelProtocol) -> bool {
        protocol.is_direct() && happens(self.rules.get().refuses_direct)
    }

    /// Whether a client that begins a tunnel by a front is refused this time.
    pub(crate) fn refuses_fronted(&self) -> bool {
        happens(self.rules.get().refuses_fronted)
    }

    /// What a new connection's pieces follow from.
    pub(crate) fn draw(&self, protocol: TunnelProtocol, place: &Place) -> Draw {
        let rules = self.rules.get();
        if rules.drawn(protocol).is_none() {
            return Draw::default();
        }
        let scope = rules.replays(place).then(|| Scope::new(protocol, place));
        if let Some(draw) = scope.and_then(|scope| self.cache.get(&scope, Instant::now())) {
            return draw;
        }
        let mut random = [0; 8];
        // Without randomness all connections are cut alike, which is no failure.
        let _ = aws_lc_rs::rand::fill(&mut random);
        Draw::fresh(u64::from_le_bytes(random))
    }

    /// Below a transport, or below plain SSH: no client says how.
    pub(crate) fn of_carrier(&self, stream: Stream, arrival: Arrival) -> Treated {
        let Some(settings) = self.rules.get().drawn(arrival.protocol) else { return Treated::not(stream) };
        let seed = self.secret.derive(&arrival.draw.number().to_string());
        let (stream, cuts) = fragment_counted(stream, &settings, Prng::new(&seed));
        Treated { stream, cuts, follows: arrival.draw.is_replayed() }
    }

    /// Where the preamble is the connection's beginning: the client's seed decides.
    pub(crate) fn of_preamble(
        &self,
        stream: Stream,
        protocol: TunnelProtocol,
        preamble: &ServerPreamble,
    ) -> Treated {
        let rules = self.rules.get();
        let settings = Settings::of_server(&rules.fragmentor, protocol);
        let allowed = preamble.prefix.is_none() || rules.with_prefix;
        let follows = settings.is_some_and(|settings| settings.probability != Probability::NEVER);
        match (settings, &preamble.padding_seed) {
            (Some(settings), Some(seed)) if allowed => {
                let prng = PaddingUse::ServerFragmentor.prng(seed);
                let (stream, cuts) = fragment_counted(stream, &settings, prng);
                Treated { stream, cuts, follows }
            }
            _ => Treated { follows, ..Treated::not(stream) },
        }
    }

    /// Whether a connection's pieces work is to be found out; `None` where nobody asks.
    pub(crate) fn trial(&self, arrival: Arrival, geoip: &GeoIp) -> Option<Box<Trial>> {
        let rules = self.rules.get();
        rules.drawn(arrival.protocol)?;
        if rules.replay.ttl.is_zero() {
            return None;
        }
        let place = geoip.look_up(arrival.peer.ip());
        let trial = || {
            let began = Instant::now();
            Box::new(Trial {
                cache: self.cache.clone(),
                scope: Scope::new(arrival.protocol, &place),
                draw: arrival.draw,
                began,
                due: began.checked_add(rules.replay.target_wait_duration),
                rules: rules.clone(),
                has_worked: false,
            })
        };
        rules.replays(&place).then(trial)
    }

    /// What became of replays since this was last asked.
    pub(crate) fn take_counts(&self) -> Counts {
        self.cache.take_counts()
    }
}

/// A client whose connection is to show whether its pieces work. One that is dropped before its client's handshake was answered says that
/// they do not.
pub(crate) struct Trial {
    cache: Arc<ReplayCache>,
    scope: Scope,
    draw: Draw,
    began: Instant,
    /// When it is judged; `None` when it was.
    due: Option<Instant>,
    rules: Arc<AcceptRules>,
    has_worked: bool,
}

impl Trial {
    /// Returns when it is to be judged; never again after that.
    pub(crate) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Judges it, by how long ago something was read and how many bytes went up and down.
    pub(crate) fn judge(&mut self, idle: std::time::Duration, (up, down): (u64, u64)) {
        self.due = None;
        let now = Instant::now();
        let active = now.saturating_duration_since(self.began).saturating_sub(idle);
        let replay = &self.rules.replay;
        let is_good = active >= replay.target_tunnel_duration
            && up >= replay.target_upstream_bytes.into()
            && down >= replay.target_downstream_bytes.into();
        if is_good {
            self.cache.set(self.scope.clone(), self.draw, replay.ttl, now);
        }
    }

    /// Its client's handshake was answered.
    pub(crate) fn has_worked(&mut self) {
        self.has_worked = true;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.draw.is_replayed() && !self.has_worked {
            let threshold = self.rules.replay.failed_count_threshold;
            self.cache.failed(&self.scope, self.draw, threshold, Instant::now());
        }
    }
}

fn happens(odds: Probability) -> bool {
    if odds == Probability::NEVER {
        return false;
    }
    let mut seed = [0; 32];
    // Without randomness nobody is refused.
    aws_lc_rs::rand::fill(&mut seed).is_ok_and(|()| odds.happens(&mut Prng::new(&Seed::from_bytes(seed))))
}

#[cfg(test)]
#[path = "treatment_tests.rs"]
mod tests;
