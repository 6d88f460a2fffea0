//! The search for a tunnel: rounds of attempts, with pauses between them, until one wins or time is over.
//!
//! Starts are staggered, so that the likeliest server has a head start and a quick one keeps all others from being dialed. A place
//! that an attempt gives up, or loses, is another's at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::parameters::AtMost;
use culvert_protocol::{Feature, TunnelProtocol};
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{Attempt, EstablishError, Established, Place};
use super::candidates::{Known, Order, Standing};
use super::patience::{Observed, Patience};
use super::pool::{Event, Pool};
use super::select::{Turn, is_fronted, select};
use super::{Scene, Server};
use crate::notice::{CandidateServers, DialOrigin, FreeText, Notice};
use crate::plan::{DialPlan, Planner, Wanted};
use crate::store::ServerId;

/// Between the starts of two attempts of which nothing is known. Short beside a dial, long beside the time in which connections
/// are counted as made at once.
const STAGGER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(30));
/// What worked here before, or is recommended, has this head start.
const HEAD_START: Duration = Duration::from_millis(250);
/// The pause behind the first round: a server that restarts is found again at once.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// An attempt that stalls may go on for so long at least.
pub(super) const LEAST_LIFE: Duration = Duration::from_secs(5);
/// The host is asked so often whether there is a network. PROTOCOL.md 8.
const CONNECTIVITY_POLL: Duration = Duration::from_millis(500);
/// Attempts that fail for want of a network, one after the other, until nothing more is tried.
const NO_NETWORK: u32 = 3;
/// Until the next try without a network, at first and at most. That it is back is told sooner, where the system tells.
const FIRST_SLEEP: Duration = Duration::from_secs(2);
const LONGEST_SLEEP: Duration = Duration::from_secs(120);

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Time is over.
    Timeout { last: String },
    /// Trying again cannot help.
    Hopeless(EstablishError),
    /// There is nothing to try, and nobody who will bring something.
    NoServers,
}

/// When the search is to end, if it is. Time without a network is not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// From now on; `None` for never.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| Instant::now() + limit))
    }

    fn extend(&mut self, by: Duration) {
        self.0 = self.0.map(|at| at + by);
    }

    async fn passed(self) {
        sleep_or_never(self.0).await;
    }
}

/// Searches until there is a tunnel.
pub(crate) async fn establish(scene: Arc<Scene>, deadline: &mut Deadline) -> Result<Established, Failure> {
    // What tactics say matters for the first dial already, but is not worth much waiting.
    let _ = timeout(scene.settings.tactics_wait, scene.feed.tactics()).await;
    let mut search = Search::new(scene);
    loop {
        search.await_network(deadline).await;
        let expired = *deadline;
        let found = tokio::select! {
            found = search.round() => found?,
            () = expired.passed() => return Err(search.timeout()),
        };
        if let Some(established) = found {
            return Ok(established);
        }
        search.trigger_fetches()?;
        let found = tokio::select! {
            found = search.pause() => found?,
            () = expired.passed() => return Err(search.timeout()),
        };
        if let Some(established) = found {
            return Ok(established);
        }
    }
}

/// What identifies an attempt in the pool.
#[derive(Clone, Copy, Debug)]
struct Label {
    id: ServerId,
    protocol: TunnelProtocol,
    standing: Standing,
    origin: DialOrigin,
}

struct Search {
    scene: Arc<Scene>,
    pool: Pool<Label, Result<Established, EstablishError>>,
    prng: Prng,
    started: Instant,
    round: u32,
    /// Servers of this round, and what they are or were dialed with in it.
    tried: BTreeMap<ServerId, Vec<TunnelProtocol>>,
    /// Servers that are to be tried again at once, in another way.
    at_once: VecDeque<(ServerId, Standing)>,
    /// Servers with further protocols, for when all had their turn.
    again: VecDeque<(ServerId, Standing)>,
    place: Place,
    next_start: Instant,
    /// Attempts in a row that found no network.
    no_network: u32,
    /// Pauses in a row that were made for want of a network.
    sleeps: u32,
    last: String,
}

impl Search {
    fn new(scene: Arc<Scene>) -> Self {
        let now = Instant::now();
        Self {
            pool: Pool::new(scene.settings.workers, LEAST_LIFE, |one, other| one.id == other.id),
            prng: Prng::derived(&scene.seed, "search"),
            started: now,
            round: 0,
            tried: BTreeMap::new(),
            at_once: VecDeque::new(),
            again: VecDeque::new(),
            place: Place { number: 0, estimate: 0, first_fronted: 0, moved: 0 },
            next_start: now,
            no_network: 0,
            sleeps: 0,
            last: "none".to_owned(),
            scene,
        }
    }

    fn draw_seed(&mut self) -> Seed {
        let mut bytes = [0; 32];
        self.prng.fill(&mut bytes);
        Seed::from_bytes(bytes)
    }

    fn timeout(&self) -> Failure {
        Failure::Timeout { last: self.last.clone() }
    }

    /// One round: every server has its turn, as far as time allows.
    async fn round(&mut self) -> Result<Option<Established>, Failure> {
        let mut order = self.order();
        let work_ends = Instant::now() + self.scene.settings.work_time;
        let mut exhausted = false;
        loop {
            let now = Instant::now();
            let start_at = self.pool.room_at(now).filter(|_| !exhausted).map(|at| at.max(self.next_start));
            if start_at.is_some_and(|at| at <= now) {
                if self.no_network >= NO_NETWORK || !self.scene.host.has_network() {
                    return Ok(None);
                }
                exhausted = !self.start_next(&mut order)?;
                continue;
            }
            if exhausted && self.pool.is_waiting() {
                return Ok(None);
            }
            tokio::select! {
                event = self.pool.next() => {
                    if let Some(established) = self.on_event(event)? {
                        return Ok(Some(established));
                    }
                }
                () = sleep_or_never(start_at) => {}
                () = sleep_until(work_ends) => return Ok(None),
            }
        }
    }

    /// Time for the network to change and for others to bring servers. Attempts that have stalled go on.
    async fn pause(&mut self) -> Result<Option<Established>, Failure> {
        let settings = &self.scene.settings;
        let longest = settings.pause.max(Duration::from_millis(1));
        let base = match self.no_network {
            0..NO_NETWORK => FIRST_PAUSE.saturating_mul(1 << self.round.min(8)).min(longest),
            NO_NETWORK.. => {
                self.scene.notices.info("no network: waiting for it to change");
                // One attempt tells whether it has.
                self.no_network = NO_NETWORK - 1;
                self.sleeps = self.sleeps.saturating_add(1);
                FIRST_SLEEP.saturating_mul(1 << (self.sleeps - 1).min(8)).min(LONGEST_SLEEP)
            }
        };
        self.round = self.round.saturating_add(1);
        let least = base.mul_f64((1.0 - settings.pause_jitter).max(0.0));
        let ends = Instant::now() + self.prng.period(least, base.mul_f64(1.0 + settings.pause_jitter));
        self.pool.set_least_life(LEAST_LIFE.saturating_mul(1 << self.round.min(4)));
        let mut changes = self.scene.changes.clone();
        changes.mark_unchanged();
        loop {
            tokio::select! {
                event = self.pool.next() => {
                    if let Some(established) = self.on_event(event)? {
                        return Ok(Some(established));
                    }
                }
                () = sleep_until(ends) => return Ok(None),
                // Whatever it is, there may be a way now.
                Ok(()) = changes.changed(), if self.sleeps > 0 => return Ok(None),
            }
        }
    }

    /// Waits for as long as the host says that there is no network.
    async fn await_network(&mut self, deadline: &mut Deadline) {
        let since = Instant::now();
        while !self.scene.host.has_network() {
            tokio::time::sleep(CONNECTIVITY_POLL).await;
        }
        deadline.extend(since.elapsed());
        self.started += since.elapsed();
    }

    fn trigger_fetches(&self) -> Result<(), Failure> {
        if self.scene.servers.is_target() {
            return Ok(());
        }
        let is_empty = self.scene.servers.is_empty();
        if is_empty || self.started.elapsed() > self.scene.settings.work_time {
            self.scene.feed.fetch();
            if is_empty && !self.scene.feed.brings_servers() {
                return Err(Failure::NoServers);
            }
        }
        Ok(())
    }

    /// Draws the order of a round and says what there is to choose from.
    fn order(&mut self) -> Order<ServerId> {
        self.tried.clear();
        self.at_once.clear();
        self.again.clear();
        self.next_start = Instant::now();
        let scene = self.scene.clone();
        let rules = &scene.settings.rules;
        let started = Instant::now();
        let [first, others] = rules.allowed();
        let all = scene.servers.ids(&rules.region, others);
        let initial = if rules.has_initial() { scene.servers.ids(&rules.region, first).len() } else { 0 };
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let seed = self.draw_seed();
        let network = &scene.config.network_id;
        let replays = self.may_replay();
        let serves = |id: &ServerId| !scene.lessons.has_stalled(*id);
        let known = Known {
            affinity: scene.servers.affinity(network).filter(|id| scene.in_use.is_empty() && serves(id)),
            prioritized: self.prioritized(),
            proven: if replays { self.proven() } else { Vec::new() },
            most_moved: scene.settings.most_moved,
            all,
        };
        let order = Order::new(known, Prng::new(&seed));
        self.place.estimate = count;
        self.place.moved = u32::try_from(order.moved_to_front()).unwrap_or(u32::MAX);
        if self.round == 0 {
            let names = |protocols: &[TunnelProtocol]| protocols.iter().map(ToString::to_string).collect();
            scene.notices.emit(Notice::CandidateServers(CandidateServers {
                region: rules.region.clone(),
                initial_limit_tunnel_protocols: names(&rules.initial.protocols),
                initial_limit_tunnel_protocols_candidate_count: rules.initial.candidates,
                limit_tunnel_protocols: names(&rules.limit),
                limit_tunnel_dial_port_numbers: BTreeMap::new(),
                replay_candidate_count: match scene.config.parameters.replay.candidate_count {
                    AtMost::Of(most) => most,
                    AtMost::Unlimited => count,
                },
                initial_count: u32::try_from(initial).unwrap_or(u32::MAX),
                count,
                duration: started.elapsed(),
            }));
        }
        order
    }

    /// Servers with a plan come first in the first round, and by chance in later ones.
    fn may_replay(&mut self) -> bool {
        let replay = &self.scene.config.parameters.replay;
        replay.candidate_count.allows(1)
            && (self.round == 0 || replay.later_round_move_to_front_probability.happens(&mut self.prng))
    }

    /// Servers with a plan that worked here, but for those with which it has stopped to.
    fn proven(&self) -> Vec<ServerId> {
        let mut proven = self.scene.servers.store().replayable(&self.scene.config.network_id);
        proven.retain(|id| !self.scene.lessons.has_stalled(*id));
        proven
    }

    fn prioritized(&self) -> Vec<(ServerId, Option<TunnelProtocol>)> {
        let wishes = self.scene.feed.prioritized();
        let store = self.scene.servers.store();
        wishes.into_iter().filter_map(|(entry, hint)| Some((store.id_of(&entry)?, hint))).collect()
    }

    /// Starts the next attempt; false when no server is left to try.
    fn start_next(&mut self, order: &mut Order<ServerId>) -> Result<bool, Failure> {
        loop {
            let next = self.at_once.pop_front().or_else(|| order.next()).or_else(|| self.again.pop_front());
            let Some((id, standing)) = next else { return Ok(false) };
            if self.scene.in_use.contains(&id) || self.scene.lessons.is_useless(id) {
                continue;
            }
            if self.pool.is_claimed(Instant::now(), |label| label.id == id) {
                continue;
            }
            let Some(server) = self.scene.servers.server(id) else { continue };
            let Some((plan, more)) = self.plan(id, &server, standing)? else { continue };
            if more {
                self.again.push_back((id, Standing::Unknown));
            }
            self.start(id, server, plan, standing);
            return Ok(true);
        }
    }

    /// A plan for the server, and whether it could be dialed in further ways.
    fn plan(
        &mut self,
        id: ServerId,
        server: &Server,
        standing: Standing,
    ) -> Result<Option<(DialPlan, bool)>, Failure> {
        let scene = self.scene.clone();
        let seed = self.draw_seed();
        let tried = self.tried.entry(id).or_default();
        let limit = scene.settings.intensive_workers;
        let intensive = self.pool.labels().filter(|label| label.protocol.has(Feature::Intensive)).count();
        let hint = if let Standing::Prioritized(hint) = standing { hint } else { None };
        let turn = Turn { earlier: self.place.number, spare: limit != 0 && intensive >= limit, tried, hint };
        let experience = scene.lessons.experience();
        let rules = &scene.settings.rules;
        let mut protocols = match select(server, rules, turn, &experience, &mut self.prng) {
            Ok(protocols) => protocols,
            Err(skip) => {
                if skip.is_lasting() {
                    scene.notices.emit(Notice::SkipServerEntry { reason: FreeText::new(skip) });
                }
                return Ok(None);
            }
        };
        let may_replay =
            scene.config.parameters.replay.candidate_count.allows(self.place.number.saturating_add(1));
        let earlier =
            may_replay.then(|| scene.recall(id, &server.entry, &protocols, &mut self.prng)).flatten();
        if let Some(earlier) = &earlier {
            protocols.sort_by_key(|protocol| *protocol != earlier.protocol);
        }
        let mut planner = Planner {
            entry: &server.entry,
            parameters: &scene.config.parameters,
            seed,
            wanted: if scene.config.ssh.any_cipher { Wanted::Any } else { Wanted::for_this_processor() },
            server: scene.lessons.kind(id),
            earlier: earlier.as_ref(),
            headers: &scene.config.meek_headers,
            steering: None,
        };
        let mut failure = None;
        for (index, protocol) in protocols.iter().enumerate() {
            tried.push(*protocol);
            planner.steering = scene.lessons.steering(&server.entry, *protocol);
            match planner.plan(*protocol) {
                Ok(plan) => return Ok(Some((plan, index + 1 < protocols.len()))),
                Err(error) => {
                    scene.notices.emit(Notice::SkipServerEntry { reason: FreeText::new(&error) });
                    failure = Some(error);
                }
            }
        }
        match failure {
            // Nothing of it was ever dialed.
            Some(error) if tried.len() == protocols.len() => {
                scene.lessons.note_useless(id);
                if scene.servers.is_target() {
                    return Err(Failure::Hopeless(error.into()));
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn start(&mut self, id: ServerId, server: Server, plan: DialPlan, standing: Standing) {
        let settings = &self.scene.settings;
        let (protocol, origin) = (plan.protocol, plan.origin);
        self.place.number = self.place.number.saturating_add(1);
        if self.place.first_fronted == 0 && is_fronted(protocol) {
            self.place.first_fronted = self.place.number;
        }
        let latency = plan.latency;
        let head_start = match standing {
            Standing::Affinity => settings.affinity_grace.scaled(latency),
            Standing::Prioritized(_) | Standing::Proven => HEAD_START,
            Standing::Unknown => self.prng.period(STAGGER.0, STAGGER.1),
        };
        let jitter = settings.stagger.mul_f64(settings.stagger_jitter);
        let stagger = self.prng.period(settings.stagger.saturating_sub(jitter), settings.stagger + jitter);
        self.next_start = Instant::now() + head_start.max(stagger);
        let attempt = Attempt {
            limit: settings.dial_limit.scaled(latency),
            scene: self.scene.clone(),
            id,
            server,
            plan,
            place: self.place,
            claims: self.pool.claims(),
        };
        let slowest = self.scene.lessons.experience().slowest_round_trip();
        let patience = Patience::new(protocol, slowest, self.round);
        let (network, progress) = Observed::new(self.scene.network.clone(), self.scene.lessons.clone());
        let label = Label { id, protocol, standing, origin };
        self.pool.start(label, attempt.run(network), patience.run_out(progress));
    }

    /// Takes note of what became of an attempt.
    fn on_event(
        &mut self,
        event: Event<Label, Result<Established, EstablishError>>,
    ) -> Result<Option<Established>, Failure> {
        let (label, error) = match event {
            Event::Ended(label, Ok(established)) => {
                self.scene.lessons.learn(|experience| experience.worked(label.protocol));
                self.scene.lessons.note_served(label.id);
                self.remember(&label);
                return Ok(Some(established));
            }
            Event::Ended(label, Err(error)) => (label, error),
            Event::Stalled(label) => {
                self.scene.lessons.learn(|experience| experience.went_nowhere(label.protocol));
                self.scene.lessons.note_stalled(label.id);
                self.scene.note_failure(label.id, label.origin, true, &mut self.prng);
                return Ok(None);
            }
            Event::Broke(label) => {
                self.scene.notices.error(format!("{}: bug: the attempt panicked", label.protocol));
                return Ok(None);
            }
        };
        self.scene.note_failure(label.id, label.origin, error.blames_plan(), &mut self.prng);
        if let Some(error) = error.upstream().filter(|_| self.blames_proxy()) {
            self.scene.notices.emit(Notice::UpstreamProxyError { message: FreeText::new(error) });
        }
        self.scene.notices.info(format!("{}: {error}", label.protocol));
        self.last = error.to_string();
        if error.is_no_network() {
            self.no_network += 1;
        } else {
            (self.no_network, self.sleeps) = (0, 0);
        }
        // What the head start was for is over.
        self.next_start = self.next_start.min(Instant::now() + STAGGER.0);
        if error.is_misprediction() {
            self.scene.lessons.note_surprising(label.id);
            self.tried.entry(label.id).or_default().retain(|protocol| *protocol != label.protocol);
            self.at_once.push_back((label.id, label.standing));
        }
        if error.is_hopeless() {
            self.scene.lessons.note_useless(label.id);
            if self.scene.servers.is_target() {
                return Err(Failure::Hopeless(error));
            }
        }
        Ok(None)
    }
}

impl Search {
    /// Whether failures of the user's proxy are told: some of these allow some ports only, and then another server will do. By
    /// then all would have failed that were tried at a time. PROTOCOL.md 8.
    fn blames_proxy(&self) -> bool {
        let of = &self.scene.config.parameters.establish;
        let tried = usize::try_from(self.place.number).unwrap_or(usize::MAX);
        let elapsed = self.started.elapsed();
        elapsed >= of.upstream_proxy_error_max_wait
            || elapsed >= of.upstream_proxy_error_min_wait
                && tried >= self.scene.settings.workers.saturating_mul(2)
    }

    /// The next search on this network begins with what won this one.
    fn remember(&self, label: &Label) {
        let (network, servers) = (&self.scene.config.network_id, &self.scene.servers);
        servers.memory().note_success(network, label.protocol);
        if self.scene.in_use.is_empty() {
            servers.set_affinity(network, label.id);
        }
    }
}

async fn sleep_or_never(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
