//! A tunnel: API requests in order, flows side by side, until the client leaves, is silent for too long, breaks a rule,
//! takes its session elsewhere, or the server stops. Source: PROTOCOL.md 3.6 to 3.8.

use std::future::pending;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{SEED_LEN, Seed};
use culvert_protocol::api::{PasswordPayload, SessionId, extension};
use culvert_ssh_tokio::{Handle, Incoming, IncomingChannel, IncomingRequest};
use culvert_transport::Remote;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::alerts::Alerts;
use super::api::{Answer, Context, MOST_KEEPALIVE_PADDING, Phase};
use super::blocklist_hits::BlocklistHits;
use super::link::{Link, Step};
use super::opening::Opened;
use super::report::{self, Began, Reporter, TunnelReport};
use super::{Arrival, Stopping, stopped};
use crate::admission::Trial;
use crate::authorizations::Claim;
use crate::figures::{self, Country, Refusal};
use crate::forward::early::Early;
use crate::forward::egress::DialRefusal;
use crate::forward::exit::Exit;
use crate::forward::flows::Flows;
use crate::forward::tcp::Candour;
use crate::forward::{random, tcp, udp_gateway};
use crate::geoip::Place;
use crate::hold;
use crate::log::Level;
use crate::panics::DrillSpot;
use crate::rules::{ClientFacts, HandshakeFacts, Stage};
use crate::services::{Services, fresh_seed};

/// A client is gone when nothing was read for so long (PROTOCOL.md 3.6).
const MOST_SILENCE: Duration = Duration::from_secs(300);
/// Random streams at once.
const MOST_RANDOM_STREAMS: usize = 16;
const TCP: &[u8] = b"direct-tcpip";
const TCP_UNSPLIT: &[u8] = b"direct-tcpip-no-split-tunnel@psiphon.ca";
const RANDOM: &[u8] = b"random@psiphon.ca";

/// What one tunnel owns.
struct Tunnel<'s> {
    services: &'s Services,
    arrival: Arrival,
    handle: Handle,
    session: SessionId,
    /// What the client said before its handshake.
    sponsor: Option<String>,
    /// The session had no tunnel before.
    is_first: bool,
    /// Where the client was when it came.
    place: Place,
    /// The authorizations that it uses.
    claim: Option<Claim>,
    /// When the first of them does not hold any more, and the tunnel ends.
    expires: Option<Instant>,
    candour: Candour,
    early: Early,
    alerts: Arc<Alerts>,
    flows: Arc<Flows>,
    hits: BlocklistHits,
    _counted: figures::Tunnel,
    phase: Phase,
    /// A random stream was served before the handshake.
    tried_out: bool,
    /// Random streams before the handshake, and after it.
    moved: [Arc<random::Moved>; 2],
    random_streams: Arc<Semaphore>,
    udp_gateway: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

/// Serves a client that has logged in, and reports.
pub(super) async fn run(opened: Opened, arrival: Arrival, services: &Services, stopping: &mut Stopping) {
    let began = Began::now();
    let Opened { mut link, password, preamble, mut trial, carriage } = opened;
    // It was accepted, so it is well formed.
    let Ok(payload) = PasswordPayload::parse(&password) else { return };
    drop(password);
    let Some(mut registration) = services.sessions.register(payload.session_id.clone()).await else {
        return turn_away(link, arrival, services).await;
    };
    // Before rules are chosen, so that none are missed.
    let mut ruled_anew = services.rules.changes();
    let mut listed_anew = services.blocklist.changes();
    let mut tunnel = Tunnel::new(services, arrival, link.handle(), payload);
    tunnel.is_first = registration.is_first;
    let over = loop {
        tokio::select! {
            step = link.next() => match step {
                Step::Incoming(incoming) => {
                    let was_established = tunnel.phase.established().is_some();
                    if tunnel.on_incoming(incoming).is_break() {
                        break None;
                    }
                    if !was_established && tunnel.phase.established().is_some() {
                        tunnel.choose_rules(&mut link);
                    }
                }
                Step::Ended(stream, _) => break Some(stream),
            },
            Some(ended) = tunnel.tasks.join_next(), if !tunnel.tasks.is_empty() => {
                // What it shared with the others may be half changed.
                if ended.is_err_and(|error| error.is_panic()) {
                    break None;
                }
            }
            // An error is the end of the server.
            Ok(()) = ruled_anew.changed() => tunnel.choose_rules(&mut link),
            Ok(()) = listed_anew.changed() => tunnel.flows.listed_anew(),
            () = judged(&mut trial, &tunnel.handle, &tunnel.flows) => {}
            () = too_silent(&tunnel.handle) => break None,
            () = revoked(&mut tunnel.claim) => {
                tunnel.on_revoked();
                tunnel.choose_rules(&mut link);
            }
            () = reached(tunnel.expires) => break None,
            () = registration.stopped() => break None,
            () = stopped(stopping) => break None,
        }
    };
    if let Some(trial) = trial.as_mut().filter(|_| tunnel.phase.established().is_some()) {
        trial.has_worked();
    }
    let farewell = if over.map(drop).is_some() { None } else { link.end().await };
    // Flows learn of the end before they are ended, so that destinations get a reset: a part of something sent must not
    // look like the whole. What still waits for a dial is dropped.
    tokio::task::yield_now().await;
    tunnel.tasks.shutdown().await;
    let stats = tunnel.handle.stats();
    let carriage = carriage.fields(services.sites.get(&tunnel.arrival.protocol).map(String::as_str));
    tunnel.report(began, preamble.as_ref(), carriage).write(stats);
    tunnel.claim = None;
    // Reported, it is over for a successor: saying farewell to a peer that may be gone must not hold it up.
    drop(registration);
    if let Some(stream) = farewell {
        hold::close(stream).await;
    }
}

/// Ends a connection that gets no tunnel.
async fn turn_away(link: Link, arrival: Arrival, services: &Services) {
    let why = if services.sessions.is_full() { Refusal::Full } else { Refusal::Duplicate };
    services.figures.refused(arrival.protocol, why);
    link.close().await;
}

/// Returns when another session has taken over the authorizations.
async fn revoked(claim: &mut Option<Claim>) {
    match claim {
        Some(claim) => claim.revoked().await,
        None => pending().await,
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Returns when it was found out whether what the server does with first bytes works; never again after that.
async fn judged(trial: &mut Option<Box<Trial>>, handle: &Handle, flows: &Flows) {
    let Some(trial) = trial else { return pending().await };
    trial.due().await;
    trial.judge(handle.stats().idle, flows.bytes());
}

/// Returns when nothing was read for too long.
async fn too_silent(handle: &Handle) {
    loop {
        let left = MOST_SILENCE.saturating_sub(handle.stats().idle);
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

impl<'s> Tunnel<'s> {
    fn new(services: &'s Services, arrival: Arrival, handle: Handle, payload: PasswordPayload) -> Self {
        let listens = payload.takes_server_requests();
        let offers = |name| payload.client_capabilities.iter().any(|offered| offered == name);
        let reasons = offers(extension::REFUSAL_REASONS);
        let early = if offers(extension::FIRST_BYTES) { Early::taken() } else { Early::None };
        let place = services.geoip.get().look_up(arrival.peer.ip());
        let country = Country::of(&place.country);
        let counted = services.figures.tunnel(arrival.protocol, country, Some(handle.clone()));
        let psinet = services.psinet.clone();
        let alerts = Arc::new(Alerts::new(listens.then(|| handle.clone()), psinet, place.clone()));
        let hits =
            BlocklistHits::new(&services.log, payload.session_id.clone(), place.clone(), alerts.clone());
        let tally = counted.tally().clone();
        let exit = Exit::new(services.egress.clone(), Box::new(hits.clone()), tally.clone());
        let rules = services.rules.get().select(&ClientFacts::at(&place, arrival.protocol));
        let flows = Flows::new(exit, rules, tally);
        Self {
            services,
            arrival,
            alerts,
            handle,
            place,
            claim: None,
            expires: None,
            is_first: false,
            session: payload.session_id,
            sponsor: Some(payload.sponsor_id).filter(|sponsor| !sponsor.is_empty()),
            candour: if reasons { Candour::Reasons } else { Candour::Opaque },
            early,
            flows,
            hits,
            _counted: counted,
            phase: Phase::default(),
            tried_out: false,
            moved: Default::default(),
            random_streams: Arc::new(Semaphore::new(MOST_RANDOM_STREAMS)),
            udp_gateway: None,
            tasks: JoinSet::new(),
        }
    }

    /// What filters of rules see of the client.
    fn facts(&self) -> ClientFacts<'_> {
        let handshake = self.phase.established().map(|established| established.handshake.facts());
        ClientFacts { handshake, ..ClientFacts::at(&self.place, self.arrival.protocol) }
    }

    /// Chooses the client's rules by what is known of it now, and has them hold.
    fn choose_rules(&mut self, link: &mut Link) {
        let facts = self.facts();
        let rules = self.services.rules.get().select(&facts);
        link.limit(&rules.rates.at(Stage::of(&facts, self.is_first)));
        self.flows.replace_rules(rules);
    }

    fn on_incoming(&mut self, incoming: Incoming) -> ControlFlow<()> {
        match incoming {
            Incoming::Channel(channel) => self.on_channel(channel),
            Incoming::Request(request) => return self.on_request(request),
            Incoming::Keyed { first: false, .. } => {
                let level = if self.services.watches_rekeying() { Level::Info } else { Level::Debug };
                self.services.log.line(level, "keys renewed", []);
            }
            Incoming::Preamble(_) | Incoming::Keyed { .. } | Incoming::Authenticated { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn on_request(&mut self, request: IncomingRequest) -> ControlFlow<()> {
        self.services.drill.at(DrillSpot::Request);
        let padding = keepalive_padding();
        // A failure of the random source costs only the order of pages.
        let order = fresh_seed().unwrap_or_else(|_| Seed::from_bytes([0; SEED_LEN]));
        let before = self.phase.established().is_some();
        let now = OffsetDateTime::now_utc();
        let rules = self.services.rules.get();
        let select = |handshake: HandshakeFacts<'_>| {
            let place = ClientFacts::at(&self.place, self.arrival.protocol);
            rules.select(&ClientFacts { handshake: Some(handshake), ..place })
        };
        let flows = self.flows.clone();
        let count_site = |name: &str, bytes| flows.exit().count_site(name, bytes);
        let context = Context {
            count_site: &count_site,
            now,
            client: self.client_address(),
            place: &self.place,
            psinet: &self.services.psinet,
            authorizations: &self.services.authorizations,
            order: &order,
            own_entries: &self.services.own_entries,
            extensions: self.early.extensions(),
            keepalive_padding: &padding,
            rules: &select,
        };
        let mut events = Vec::new();
        let mut report = |event| events.push(event);
        let answer = self.phase.answer(&request.name, &request.payload, &context, &mut report);
        if !before {
            self.on_established(now);
        }
        let granted = self.phase.established().map(|established| &established.handshake.granted);
        let access_types = granted.map_or(&[][..], |granted| &granted.access_types);
        let (log, session, place) = (&self.services.log, &self.session, &self.place);
        let reporter = Reporter { log, session, place, access_types };
        events.into_iter().for_each(|event| reporter.write(event));
        match answer {
            Answer::Reply(reply) => request.reply(Ok(reply)),
            Answer::Refuse => drop(request),
            Answer::RefuseAndClose => {
                drop(request);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// As the client is told it. Which port it has is not known where something is between (PROTOCOL.md 4.5).
    fn client_address(&self) -> SocketAddr {
        let Remote(peer) = self.arrival.peer;
        let port = if self.arrival.protocol.is_direct() { peer.port() } else { 0 };
        SocketAddr::new(peer.ip().to_canonical(), port)
    }

    /// What follows from a handshake, if there was one.
    fn on_established(&mut self, now: OffsetDateTime) {
        let Some(established) = self.phase.established() else { return };
        let handshake = &established.handshake;
        self.alerts.identify(&handshake.visitor);
        self.hits.identify(&handshake.words);
        let from = self.arrival.peer.ip().to_canonical();
        self.flows.exit().introduce(&handshake.visitor, &self.place, from, handshake.wants_headers);
        let authorizations = &self.services.authorizations;
        let Some((claim, shared)) = authorizations.claim(&handshake.granted, &self.session, &self.place)
        else {
            return;
        };
        for shared in shared {
            report::shared_authorization(&self.services.log, self.services.own_tag(), &shared, &self.place);
        }
        self.claim = Some(claim);
        if let Some(expires) = handshake.granted.expires {
            let left = Duration::try_from(expires - now).unwrap_or(Duration::ZERO);
            self.expires = Instant::now().checked_add(left);
        }
    }

    /// The tunnel goes on, under the rules of those who are not authorized.
    fn on_revoked(&mut self) {
        self.claim = None;
        if let Some(established) = self.phase.established_mut() {
            established.handshake.revoked = true;
        }
    }

    fn on_channel(&mut self, channel: IncomingChannel) {
        match channel.kind.as_slice() {
            TCP | TCP_UNSPLIT => self.on_tcp(channel),
            RANDOM => self.on_random(channel),
            _ => tcp::prohibit(channel),
        }
    }

    fn on_tcp(&mut self, mut channel: IncomingChannel) {
        let payload = std::mem::take(&mut channel.payload);
        let wanted = match tcp::Wanted::parse(&payload, &self.early) {
            Ok(wanted) => wanted,
            Err(unwanted) => return tcp::refuse_open(channel, unwanted),
        };
        // PROTOCOL.md 7.1: not a place but the gateway for UDP.
        let is_gateway = self.services.udp_gateway.is_some_and(|gateway| {
            u32::from(gateway.port()) == wanted.port && gateway.ip().to_string() == wanted.host
        });
        if self.phase.established().is_none() {
            if !is_gateway {
                self.flows.refused(DialRefusal::Rules);
                self.alerts.disallowed_traffic();
            }
            return tcp::prohibit(channel);
        }
        if is_gateway {
            return self.on_udp_gateway(channel, wanted);
        }
        let (flows, alerts, candour) = (self.flows.clone(), self.alerts.clone(), self.candour);
        let log = self.services.log.clone();
        let place = log.enabled(Level::Debug).then(|| (wanted.host.clone(), wanted.port));
        let drill = self.services.drill.clone();
        self.tasks.spawn(async move {
            drill.at(DrillSpot::Flow);
            if let Err((channel, refusal)) = tcp::serve(channel, wanted, &flows).await {
                if refusal.is_disallowed() {
                    alerts.disallowed_traffic();
                }
                if let Some((host, port)) = place {
                    log.destination("flow refused", (&host, port), [("reason", refusal.text().into())]);
                }
                tcp::refuse(channel, refusal, candour);
            }
        });
    }

    /// One at a time: a new one ends the one before it (PROTOCOL.md 7.1).
    fn on_udp_gateway(&mut self, channel: IncomingChannel, wanted: tcp::Wanted) {
        // Given up before the channel is accepted, like those of other flows.
        let first_bytes = wanted.into_first_bytes().as_slice().to_vec();
        let Some(stream) = channel.accept() else { return };
        let alerts = self.alerts.clone();
        let surroundings = udp_gateway::Surroundings {
            flows: self.flows.clone(),
            forbidden: Box::new(move || alerts.disallowed_traffic()),
        };
        let task = self.tasks.spawn(async move {
            udp_gateway::serve(stream, &first_bytes, surroundings).await;
        });
        if let Some(before) = self.udp_gateway.replace(task) {
            before.abort();
        }
    }

    /// One before the handshake, any number after (PROTOCOL.md 7.3).
    fn on_random(&mut self, channel: IncomingChannel) {
        let Some(sizes) = random::parse(&channel.payload) else { return tcp::prohibit(channel) };
        if self.phase.established().is_none() && std::mem::replace(&mut self.tried_out, true) {
            return tcp::prohibit(channel);
        }
        let Ok(place) = self.random_streams.clone().try_acquire_owned() else {
            return tcp::prohibit(channel);
        };
        let [before, after] = &self.moved;
        let moved = if self.phase.established().is_some() { after.clone() } else { before.clone() };
        self.tasks.spawn(async move {
            random::serve(channel, sizes, &moved).await;
            drop(place);
        });
    }

    fn report<'r>(
        &'r self,
        began: Began,
        preamble: Option<&'r culvert_ssh::PreambleFacts>,
        carriage: Map<String, Json>,
    ) -> TunnelReport<'r> {
        TunnelReport {
            log: &self.services.log,
            own_tag: self.services.own_tag(),
            protocol: self.arrival.protocol,
            session: &self.session,
            place: &self.place,
            began,
            ended: Instant::now(),
            preamble,
            carriage,
            is_first: self.is_first,
            established: self.phase.established(),
            flows: &self.flows,
            moved: &self.moved,
            sponsor: self.sponsor.as_deref(),
        }
    }
}

/// So many random bytes that nobody can tell an answer by its length; none if the random source fails.
fn keepalive_padding() -> Vec<u8> {
    let mut length = [0];
    let drawn = aws_lc_rs::rand::fill(&mut length).is_ok();
    let mut padding = vec![0; (usize::from(length[0]) + 1).min(MOST_KEEPALIVE_PADDING)];
    if !drawn || aws_lc_rs::rand::fill(&mut padding).is_err() {
        padding.clear();
    }
    padding
}
