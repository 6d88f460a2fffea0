//! Whose request it is. A session's name is looked up; a cookie is opened when there is budget for it, since that costs what a preamble costs
//! (`budget`), and begins a session when it has not been used by somebody else. Source: TRANSPORTS.md 2.4, 2.5.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Evidence;
use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::meek::server::{Beginning, Head, NewSession, Session, SessionStream};
use culvert_transport::meek::wire::{
    CookieRequest, MAX_SESSION_BYTES, MIN_SESSION_BYTES, Opened, SealedCookie, SessionId,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::MeekService;
use crate::budget::{Account, Turn};
use crate::core_time;
use crate::figures::Refusal;
use crate::rules::ClientFacts;
use crate::services::Services;
use crate::session::carriage::Carriage;
use crate::session::{Arrival, Stopping, serve_inside};

/// How long a cookie waits to be opened. Clients have given up by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client gets to fetch what its tunnel said at the end. Idle ones ask every five seconds.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// A request of a client.
pub(super) struct Admitted {
    pub(super) session: Arc<Session>,
    /// Whether the client does not know the session's name yet.
    pub(super) is_new: bool,
}

/// Who came with a request: the connection's facts, with the client's address.
pub(super) struct Visitor<'s> {
    pub(super) meek: &'s MeekService,
    pub(super) services: &'s Arc<Services>,
    pub(super) arrival: Arrival,
    /// Of the connection that the request came on.
    pub(super) carriage: &'s Carriage,
    pub(super) stopping: &'s Stopping,
}

impl Visitor<'_> {
    /// `None`: nobody who may be served.
    pub(super) async fn admit(&self, head: &Head) -> Option<Admitted> {
        let rules_kept = head.is_allowed && (head.is_complete || self.meek.config.rules_are_hints);
        let (_, value) = head.cookie.as_ref().filter(|_| rules_kept)?;
        self.admit_cookie(value, head).await
    }

    async fn admit_cookie(&self, value: &[u8], head: &Head) -> Option<Admitted> {
        let sessions = &self.meek.sessions;
        if let Some(session) = SessionId::parse(value).and_then(|id| sessions.named(&id)) {
            return Some(Admitted { session, is_new: false });
        }
        let sealed = SealedCookie::parse(value)?;
        let cookie = std::str::from_utf8(value).ok()?;
        if let Some(session) = sessions.begun_with(cookie, self.arrival.peer.ip()) {
            return Some(Admitted { session, is_new: true });
        }
        if *self.stopping.borrow() || !self.services.admits(self.arrival.protocol) {
            // Its cookie may be needed at the next server.
            return None;
        }
        let listener = self.arrival.protocol;
        if listener.has(Feature::Fronted) && self.services.treatment.refuses_fronted() {
            self.services.figures.refused(listener, Refusal::Restricted);
            return None;
        }
        let request = self.open(&sealed).await?;
        let protocol = self.protocol(&request)?;
        if request.endpoint.is_some() {
            self.record("unsupported meek endpoint");
            return None;
        }
        if self.comes_too_often(protocol) {
            self.services.figures.refused(listener, Refusal::RateLimited);
            self.record("too many new meek sessions");
            return None;
        }
        let session = self.begin(cookie, head, &request, protocol)?;
        Some(Admitted { session, is_new: request.wants_session_id() })
    }

    fn comes_too_often(&self, protocol: TunnelProtocol) -> bool {
        let rules = self.services.rules.get();
        let Some(rate) = rules.meek_rate() else { return false };
        let place = self.services.geoip.get().look_up(self.arrival.peer.ip());
        let rate = Some(rate).filter(|rate| rate.covers(&ClientFacts::at(&place, protocol)));
        rate.is_some_and(|rate| !self.meek.rate.allows(rate, self.arrival.peer.ip(), Instant::now()))
    }

    fn record(&self, irregularity: &'static str) {
        self.services.irregular.record(self.arrival.protocol, self.arrival.port, irregularity);
    }

    async fn open(&self, sealed: &SealedCookie) -> Option<CookieRequest> {
        let mut account = self.services.budget.account(self.arrival.peer);
        if !may_derive(&mut account).await {
            self.record("meek cookie not opened: too many invalid ones");
            return None;
        }
        let began = core_time::of_this_thread();
        let opened = self.meek.opener.open(sealed);
        let now = Instant::now();
        account.derived(Evidence::Nothing, core_time::of_this_thread().saturating_sub(began), now);
        let Ok(Opened { seed, request }) = opened else {
            self.record("invalid meek cookie");
            return None;
        };
        // A client's own repetitions were recognised by their session already.
        if !self.services.ssh.admit(&seed, self.arrival.peer) {
            self.record("replayed meek cookie");
            return None;
        }
        account.refund(now);
        Some(request)
    }

    /// The protocol that the client uses. One that is not the listener's is only right behind a CDN.
    fn protocol(&self, request: &CookieRequest) -> Option<TunnelProtocol> {
        let listener = self.arrival.protocol;
        let believed = request.protocol.unwrap_or(listener);
        let is_right = believed == listener
            || [listener, believed].iter().all(|protocol| self.meek.config.fronted.contains(protocol));
        if !is_right {
            self.record("unexpected protocol in meek cookie");
        }
        is_right.then_some(believed)
    }

    fn begin(
        &self,
        cookie: &str,
        head: &Head,
        request: &CookieRequest,
        protocol: TunnelProtocol,
    ) -> Option<Arc<Session>> {
        let mut random = [0; MAX_SESSION_BYTES + 1];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let (bytes, [length]) =
            random.split_first_chunk().and_then(|(bytes, rest)| Some((bytes, rest.first_chunk::<1>()?)))?;
        let spread = MAX_SESSION_BYTES - MIN_SESSION_BYTES + 1;
        let len = MIN_SESSION_BYTES + usize::from(*length) % spread;
        let key = self.meek.config.obfuscated_key.expose();
        let begun = self.meek.sessions.begin(NewSession {
            id: SessionId::new(bytes, len),
            cookie,
            peer: self.arrival.peer.ip(),
            beginning: beginning(head),
            padding_key: request.payload_padding.then_some(key),
        });
        let Some((session, stream)) = begun else {
            self.record("too many meek sessions");
            return None;
        };
        let arrival = Arrival { protocol, at: Instant::now(), ..self.arrival };
        let (services, stopping) = (self.services.clone(), self.stopping.clone());
        let carriage = Carriage { meek: Some(session.clone()), ..self.carriage.clone() };
        tokio::spawn(run(session.clone(), (stream, carriage), arrival, services, stopping));
        Some(session)
    }
}

/// Serves a session's stream, and ends it when its client is gone.
async fn run(
    session: Arc<Session>,
    (stream, carriage): (SessionStream, Carriage),
    arrival: Arrival,
    services: Arc<Services>,
    mut stopping: Stopping,
) {
    let Some(meek) = &services.meek else { return };
    tokio::select! {
        () = serve_inside(Box::new(stream), arrival, Some(Box::new(carriage)), &services, &mut stopping) => {}
        () = session.end_when_idle(meek.config.limits.idle) => {}
    }
    // The tunnel's last words are for the client.
    let _ = timeout(LAST_WORDS, session.fetched()).await;
    meek.sessions.remove(&session);
}

/// What is told of a session's first request.
fn beginning(head: &Head) -> Beginning {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = head.cookie.as_ref().map(|(name, _)| text(name));
    Beginning {
        cookie_name: name.unwrap_or_default(),
        content_type: text(&head.content_type),
        version: text(&head.version),
    }
}

/// Waits for a turn to open a cookie; false if there is none.
async fn may_derive(account: &mut Account) -> bool {
    let limit = Instant::now() + PATIENCE;
    loop {
        let now = Instant::now();
        match account.turn(Evidence::Nothing, now) {
            Turn::Now => return true,
            Turn::After(until) if until <= limit => sleep_until(until).await,
            Turn::After(_) | Turn::Never => return false,
        }
    }
}
