//! From a name to addresses, by plan: who is asked when, which answer counts, and what is kept. Source: TRANSPORTS.md 6.8.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cache::{Cache, CacheLimits};
use super::exchange::{Asked, Attempt, ExchangeError, Outcome};
use super::plan::{DnsServer, First, ResolvePlan};
use super::wire::{Family, Found};
use crate::Network;
use crate::tls::Verify;

/// Most attempts for one name, whatever the plan says.
const MOST_ATTEMPTS: usize = 12;
/// Outcomes that may wait to be looked at.
const QUEUE: usize = 64;
/// An address of each family that everybody can reach who reaches any of it.
const FAR: [u16; 8] = [0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888];

/// Resolves names for the dials of a client.
pub struct Resolver {
    network: Arc<dyn Network>,
    verify: fn(&str) -> Verify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    network_id: String,
    limits: CacheLimits,
    cache: Cache,
}

/// What was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    /// At least one address, in the order of the answers.
    pub addresses: Vec<IpAddr>,
    /// Which attempt brought them, from 1; `None` where no question was asked.
    pub attempt: Option<u32>,
}

/// Why there is no address.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The last thing that was wrong.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Nobody answered.
    #[error("no DNS server answered")]
    Silence,
}

impl From<ResolveError> for io::Error {
    fn from(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::Silence => io::ErrorKind::TimedOut,
            ResolveError::Exchange(_) => io::ErrorKind::NotFound,
        };
        Self::new(kind, error)
    }
}

impl Resolver {
    /// Asks over `network`, whose own resolver is the system's.
    #[must_use]
    pub fn new(network: Arc<dyn Network>) -> Self {
        let verify = |name: &str| Verify::Roots { name: name.to_owned(), pins: Vec::new() };
        Self { network, verify, state: Mutex::default() }
    }

    /// Takes servers over TLS for who they are by other rules than the roots of browsers.
    #[must_use]
    pub fn verifying(self, verify: fn(&str) -> Verify) -> Self {
        Self { verify, ..self }
    }

    /// Says which network this is, and how long answers live. Answers of other networks are kept for when they are met again.
    pub fn enter(&self, network_id: &str, limits: CacheLimits) {
        let mut state = self.state();
        network_id.clone_into(&mut state.network_id);
        state.limits = limits;
    }

    /// A tunnel was made by the addresses of this name: they are the right ones.
    pub fn verified(&self, name: &str) {
        let state = &mut *self.state();
        let by = state.limits.verified;
        state.cache.extend(&state.network_id, name, by, Instant::now());
    }

    /// Resolves a name.
    ///
    /// # Errors
    /// Nothing that could be believed came back.
    pub async fn resolve(&self, plan: &ResolvePlan, name: &str) -> Result<Answered, ResolveError> {
        if let Ok(address) = name.parse() {
            return Ok(Answered { addresses: vec![address], attempt: None });
        }
        if let Some(known) = plan.preresolved.as_ref().filter(|known| known.name.eq_ignore_ascii_case(name)) {
            return Ok(Answered { addresses: vec![known.address], attempt: None });
        }
        let network_id = {
            let state = self.state();
            if let Some(addresses) = state.cache.get(&state.network_id, name, Instant::now()) {
                return Ok(Answered { addresses, attempt: None });
            }
            state.network_id.clone()
        };
        let (attempt, found) = self.ask(plan, name).await?;
        let state = &mut *self.state();
        let at_least = Some(state.limits.initial);
        let addresses = found.addresses.clone();
        state.cache.put([&network_id, name], addresses, [found.ttl, at_least], Instant::now());
        Ok(Answered { addresses: found.addresses, attempt: Some(attempt) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, plan: &ResolvePlan, name: &str) -> Result<(u32, Found), ResolveError> {
        let reaches_v6 = self.network.reaches(IpAddr::from(FAR));
        let families = if reaches_v6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] };
        let mut race = Race::new(families.len());
        for (number, asked) in order(plan).into_iter().enumerate() {
            let attempt = Attempt {
                network: Arc::clone(&self.network),
                asked,
                name: name.to_owned(),
                families: families.clone(),
                plan: plan.clone(),
                is_first: number == 0,
                verify: self.verify,
            };
            race.start(attempt);
            if race.first_answer(plan.request_timeout).await {
                race.others(plan.await_timeout).await;
                return Ok((u32::try_from(number + 1).unwrap_or(u32::MAX), race.found));
            }
        }
        Err(race.last_error.map_or(ResolveError::Silence, ResolveError::Exchange))
    }
}

/// Who is asked, attempt by attempt. TRANSPORTS.md 6.8.
fn order(plan: &ResolvePlan) -> Vec<Asked> {
    let times = |asked: &Asked, times: u32| {
        // The system asks again itself.
        let times = if *asked == Asked::System { 1 } else { times.max(1) };
        vec![asked.clone(); usize::try_from(times).unwrap_or(MOST_ATTEMPTS).min(MOST_ATTEMPTS)]
    };
    let alternate = plan.alternate.clone().map(|server: DnsServer| Asked::Server(server));
    let mut order = match (alternate, plan.first) {
        (None, _) => vec![Asked::System],
        (Some(server), First::Alternate) => {
            [times(&server, plan.preferred_attempts), vec![Asked::System]].concat()
        }
        (Some(server), First::System) => [vec![Asked::System], times(&server, plan.attempts)].concat(),
    };
    order.truncate(MOST_ATTEMPTS);
    order
}

/// The attempts for one name, none of which is given up while there is no answer.
struct Race {
    running: JoinSet<()>,
    sender: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Families that are asked for.
    families: usize,
    answered: Vec<Family>,
    found: Found,
    last_error: Option<ExchangeError>,
}

impl Race {
    fn new(families: usize) -> Self {
        let (sender, outcomes) = mpsc::channel(QUEUE);
        let (found, answered) = (Found::default(), Vec::new());
        Self { running: JoinSet::new(), sender, outcomes, families, answered, found, last_error: None }
    }

    fn start(&mut self, attempt: Attempt) {
        self.running.spawn(attempt.run(self.sender.clone()));
    }

    /// Waits for an address; not longer than for one attempt, and not when all attempts have failed.
    async fn first_answer(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            tokio::select! {
                biased;
                Some(outcome) = self.outcomes.recv() => {
                    self.note(outcome);
                    if !self.found.addresses.is_empty() {
                        return true;
                    }
                }
                ended = self.running.join_next() => {
                    if ended.is_none() || self.running.is_empty() {
                        // What the last one said may still wait.
                        while let Ok(outcome) = self.outcomes.try_recv() {
                            self.note(outcome);
                        }
                        return !self.found.addresses.is_empty();
                    }
                }
                () = sleep_until(deadline) => return false,
            }
        }
    }

    /// Takes what the other family's answer adds, if it comes soon.
    async fn others(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.answered.len() < self.families {
            tokio::select! {
                biased;
                Some(outcome) = self.outcomes.recv() => self.note(outcome),
                () = sleep_until(deadline) => return,
            }
        }
    }

    fn note(&mut self, (family, result): Outcome) {
        match result {
            Ok(found) => {
                if !self.answered.contains(&family) {
                    self.answered.push(family);
                }
                let known = &mut self.found.addresses;
                let new: Vec<IpAddr> =
                    found.addresses.into_iter().filter(|address| !known.contains(address)).collect();
                known.extend(new);
                self.found.ttl = [self.found.ttl, found.ttl].into_iter().flatten().min();
            }
            Err(error) => self.last_error = Some(error),
        }
    }
}
