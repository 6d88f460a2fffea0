//! Who has not shown a preamble yet. No byte is sent to such a peer, and it is kept waiting like all strangers (`hold`), whether it is
//! silent, slow or wrong, whether its preamble was judged or not. Only a little of it is kept in memory: the SSH connection begins behind
//! the preamble. Source: PROTOCOL.md 2.4.

use std::future::pending;
use std::io;
use std::time::Duration;

use culvert_obfuscation::{
    Derivation, Evidence, Keyword, ObfuscatorSeed, PreambleError, PreambleProgress, PreambleReader,
    ServerPreamble,
};
use culvert_transport::Stream;
use tokio::time::{Instant, sleep_until};

use super::{Arrival, Stopping, stopped};
use crate::budget::{Account, Turn};
use crate::derivations::{Done, Pending};
use crate::hold::{self, Ticket};
use crate::services::Services;

/// How long a connection waits for its derivation. Clients have given up by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// A peer that ends its direction sees our end no sooner than this after the last that it sent; by then a derivation is done, if there was
/// one, and the time of the end does not tell.
pub(super) const NOT_BEFORE: Duration = Duration::from_millis(5);

const REPLAYED: &str = "replayed preamble";
const NOT_JUDGED: &str = "preamble not judged: too many invalid ones";

/// Somebody with the keyword.
pub(super) struct Introduced {
    pub(super) stream: Stream,
    pub(super) preamble: Box<ServerPreamble>,
    /// What came behind the preamble.
    pub(super) rest: Vec<u8>,
}

/// Waits for a preamble, without end if it must be. `None`: there will be none, and the connection is closed.
pub(super) async fn introduce(
    mut stream: Stream,
    arrival: Arrival,
    keyword: Keyword,
    services: &Services,
    stopping: &mut Stopping,
) -> Option<Introduced> {
    let mut ticket = services.held.enter();
    let deadline = services.handshakes.probe_hold.map(|limit| arrival.at + limit);
    let mut stranger = Box::new(Stranger::new(keyword, arrival, services));
    let outcome = tokio::select! {
        outcome = stranger.listen(&mut stream) => outcome,
        () = must_leave(&mut ticket, deadline, stopping) => {
            hold::close(stream).await;
            return None;
        }
    };
    let not_before = stranger.heard + NOT_BEFORE;
    match outcome {
        Ok(Heard::Preamble(preamble)) => {
            Some(Introduced { stream, preamble, rest: stranger.reader.into_rest() })
        }
        Ok(Heard::End) => {
            drop(stranger);
            sleep_until(not_before).await;
            None
        }
        Err(failure) => {
            drop(stranger);
            if let Some(irregularity) = failure.irregularity() {
                services.irregular.record(arrival.protocol, arrival.port, irregularity);
            }
            hold::drain(stream, &services.held, not_before, must_leave(&mut ticket, deadline, stopping))
                .await;
            None
        }
    }
}

/// Returns when a stranger has to go.
pub(super) async fn must_leave(ticket: &mut Ticket, deadline: Option<Instant>, stopping: &mut Stopping) {
    let late = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = ticket.evicted() => {}
        () = late => {}
        () = stopped(stopping) => {}
    }
}

/// What was made of a connection so far.
struct Stranger<'s> {
    reader: PreambleReader,
    trial: Trial<'s>,
    /// When the last bytes came.
    heard: Instant,
}

/// Whether its preamble is worth a derivation.
struct Trial<'s> {
    services: &'s Services,
    arrival: Arrival,
    account: Account,
    /// Since when a derivation has been due.
    since: Option<Instant>,
    /// The derivation that was granted, and of what.
    under_way: Option<(ObfuscatorSeed, Pending)>,
}

/// A derivation that is due.
struct Due {
    evidence: Evidence,
    seed: ObfuscatorSeed,
    derivation: Derivation,
}

enum Verdict {
    /// It was done.
    Granted(Evidence, Box<Done>),
    /// For this reason.
    Declined(&'static str),
}

enum Heard {
    Preamble(Box<ServerPreamble>),
    /// The peer has ended its direction.
    End,
}

/// Why a connection comes to nothing.
enum Failure {
    Invalid,
    Replayed,
    /// The log has it already.
    Recorded,
    Network,
}

impl Failure {
    /// What a log says about it.
    fn irregularity(&self) -> Option<&'static str> {
        match self {
            Self::Invalid => Some("invalid preamble"),
            Self::Replayed => Some(REPLAYED),
            Self::Recorded | Self::Network => None,
        }
    }
}

impl From<PreambleError> for Failure {
    fn from(_: PreambleError) -> Self {
        Self::Invalid
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Network
    }
}

impl<'s> Stranger<'s> {
    fn new(keyword: Keyword, arrival: Arrival, services: &'s Services) -> Self {
        let account = services.budget.account(arrival.peer);
        Self {
            reader: PreambleReader::new(keyword),
            trial: Trial { services, arrival, account, since: None, under_way: None },
            heard: Instant::now(),
        }
    }

    async fn listen(&mut self, stream: &mut Stream) -> Result<Heard, Failure> {
        let mut progress = PreambleProgress::Incomplete;
        loop {
            let due = match progress {
                PreambleProgress::Complete(preamble) => return Ok(Heard::Preamble(preamble)),
                PreambleProgress::Due(evidence) => Some(evidence),
                PreambleProgress::Incomplete => None,
            };
            let due = due.and_then(|evidence| self.due(evidence)).map(Box::new);
            // Reading comes first: who has ended already is not worth a derivation.
            progress = tokio::select! {
                biased;
                received = hold::receive(stream, |bytes| self.reader.receive(bytes)) => match received? {
                    Some(next) => {
                        self.heard = Instant::now();
                        next?
                    }
                    None => return Ok(Heard::End),
                },
                verdict = self.trial.verdict(due) => match verdict {
                    Verdict::Granted(evidence, done) => self.judge(evidence, *done)?,
                    Verdict::Declined(why) => {
                        self.trial.record(why);
                        self.reader.dismiss().map_err(|_| Failure::Recorded)?
                    }
                },
            };
        }
    }

    fn due(&self, evidence: Evidence) -> Option<Due> {
        let (seed, derivation) = (self.reader.claimed_seed()?, self.reader.derivation()?);
        Some(Due { evidence, seed, derivation })
    }

    fn judge(&mut self, evidence: Evidence, done: Done) -> Result<PreambleProgress, Failure> {
        let progress = self.reader.judge_with(done.derived);
        let now = Instant::now();
        self.trial.account.derived(evidence, done.took, now);
        // The seed enters the history whatever becomes of the rest (PROTOCOL.md 2.4).
        if let Some(seed) = self.reader.authenticated_seed() {
            if !self.trial.services.ssh.admit(&seed, self.trial.arrival.peer) {
                return Err(Failure::Replayed);
            }
            if progress.is_ok() {
                self.trial.account.refund(now);
            }
        }
        Ok(progress?)
    }
}

impl Trial<'_> {
    fn record(&self, irregularity: &'static str) {
        self.services.irregular.record(self.arrival.protocol, self.arrival.port, irregularity);
    }

    /// Returns when the derivation that is due has been done, or will not be; never if none is.
    async fn verdict(&mut self, due: Option<Box<Due>>) -> Verdict {
        match due {
            // Apart, since most who are kept waiting are not there yet, or no more.
            Some(due) => Box::pin(self.decide(*due)).await,
            None => pending().await,
        }
    }

    async fn decide(&mut self, Due { evidence, seed, derivation }: Due) -> Verdict {
        if self.services.ssh.is_known(&seed) {
            // Whatever the rest is, it is no good.
            return Verdict::Declined(REPLAYED);
        }
        if self.under_way.as_ref().is_none_or(|(of, _)| *of != seed) {
            self.under_way = None;
            if !self.has_turn(evidence).await {
                return Verdict::Declined(NOT_JUDGED);
            }
            let now = Instant::now();
            let is_known = self.account.is_known(evidence, now);
            self.under_way = Some((seed, self.services.derivations.begin(derivation, is_known, now)));
        }
        let Some((_, under_way)) = &mut self.under_way else { return pending().await };
        let done = under_way.finish().await;
        self.under_way = None;
        Verdict::Granted(evidence, Box::new(done))
    }

    /// Waits for a turn; false if there is none.
    async fn has_turn(&mut self, evidence: Evidence) -> bool {
        loop {
            let now = Instant::now();
            let limit = *self.since.get_or_insert(now) + PATIENCE;
            match self.account.turn(evidence, now) {
                Turn::Now => return true,
                Turn::After(_) if now >= limit => return false,
                Turn::After(until) => sleep_until(until.min(limit)).await,
                Turn::Never => return false,
            }
        }
    }
}

#[cfg(test)]
#[path = "stranger_tests.rs"]
mod tests;
