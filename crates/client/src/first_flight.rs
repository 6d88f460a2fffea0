//! One dial for people who look into dials: what a plan would put on the wire, or what becomes of it. Not for tunnels.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{SEED_LEN, Seed};
use culvert_protocol::api::SessionId;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::parameters::RateLimits;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::{Limits, MemoryBudget, ServerKind};
use culvert_transport::upstream::CustomHeaders;
use culvert_transport::{Network, Sent, Tape};
use tokio::time::{Instant, sleep_until};

use crate::dial::{self, Credentials, DialError};
use crate::notice::DialOrigin;
use crate::plan::{DialPlan, Earlier, PlanError, Planner, StoredPlan, Wanted, replay};
use crate::randomness::random;

/// A dial that has sent nothing for so long waits for an answer.
const QUIET: Duration = Duration::from_millis(400);
/// First flights end before that, also those that are cut into pieces with pauses.
const LONGEST: Duration = Duration::from_secs(5);
/// Windows are of no interest here.
const MEMORY: u64 = 8 << 20;

/// What is dialed by.
#[derive(Clone, Debug)]
pub enum Basis {
    /// A plan that worked once, all of it.
    Stored(StoredPlan),
    /// A plan of this seed.
    Fresh {
        /// What is spoken.
        protocol: TunnelProtocol,
        /// All choices come from here.
        seed: [u8; SEED_LEN],
    },
}

/// A plan, ready to be dialed.
pub struct Prepared<'a> {
    entry: &'a ServerEntry,
    plan: DialPlan,
}

/// What a dial by a plan came to.
#[derive(Clone, Debug)]
pub struct Reached {
    /// From the first byte to the keys.
    pub duration: Duration,
    /// What was agreed on: key exchange and cipher.
    pub agreed: [&'static str; 2],
}

/// Why a plan cannot be dialed by.
#[derive(Debug, thiserror::Error)]
pub enum FlightError {
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The dial failed.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Makes the plan.
///
/// # Errors
/// The entry does not have what the plan needs.
pub fn prepare<'a>(
    basis: &Basis,
    entry: &'a ServerEntry,
    parameters: &Parameters,
) -> Result<Prepared<'a>, PlanError> {
    let (protocol, seed, earlier) = match basis {
        Basis::Fresh { protocol, seed } => (*protocol, *seed, None),
        Basis::Stored(stored) => {
            let choices = stored.choices.clone();
            let origin = DialOrigin::Replay;
            // What is not stored is drawn, but always the same.
            (stored.protocol, [0; SEED_LEN], Some(Earlier { protocol: stored.protocol, choices, origin }))
        }
    };
    let planner = Planner {
        entry,
        parameters,
        seed: Seed::from_bytes(seed),
        wanted: Wanted::Any,
        server: ServerKind::Predictable,
        earlier: earlier.as_ref(),
        steering: None,
        headers: &CustomHeaders::default(),
    };
    Ok(Prepared { entry, plan: planner.plan(protocol)? })
}

impl Prepared<'_> {
    /// What is spoken.
    #[must_use]
    pub fn protocol(&self) -> TunnelProtocol {
        self.plan.protocol
    }

    /// The plan as it would be stored.
    #[must_use]
    pub fn to_stored(&self, now: u64, settings: crate::Fingerprint) -> StoredPlan {
        let entry = crate::Fingerprint::of_entry(self.entry);
        let at = replay::Circumstances { now, settings, entry };
        replay::after_success(self.plan.protocol, &self.plan.choices, &at)
    }

    /// What a dial sends before it hears anything.
    ///
    /// # Errors
    /// The dial does not come so far.
    pub async fn first_flight(&self) -> Result<Vec<Sent>, FlightError> {
        let tape = Tape::default();
        let network: Arc<dyn Network> = Arc::new(tape.clone());
        let credentials = credentials();
        let dial = dial::dial(&self.plan, self.entry, &credentials, &network, LONGEST);
        let mut dial = std::pin::pin!(dial);
        let ends = Instant::now() + LONGEST;
        loop {
            let quiet = tape.last().map_or(ends, |last| (last + QUIET).min(ends));
            tokio::select! {
                ended = &mut dial => match ended {
                    // Nobody answers: what was sent is all there is.
                    Err(DialError::TimedOut(_)) | Ok(_) => return Ok(tape.sent()),
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(quiet) => {
                    if Instant::now() >= ends || tape.last().is_some_and(|last| last.elapsed() >= QUIET) {
                        return Ok(tape.sent());
                    }
                }
            }
        }
    }

    /// Dials, until the server has proved who it is.
    ///
    /// # Errors
    /// The dial failed, which says something about the plan, the server or the network.
    pub async fn dial(&self, network: &Arc<dyn Network>, limit: Duration) -> Result<Reached, FlightError> {
        let connected = dial::dial(&self.plan, self.entry, &credentials(), network, limit).await?;
        connected.handle.disconnect();
        let agreed = &connected.negotiated;
        Ok(Reached {
            duration: connected.duration,
            agreed: [agreed.kex.wire_name(), agreed.cipher_s2c.wire_name()],
        })
    }
}

/// Those of nobody.
fn credentials() -> Credentials {
    Credentials {
        session_id: SessionId::from_bytes(random()),
        sponsor_id: "0000000000000000".to_owned(),
        capabilities: Vec::new(),
        limits: Limits::default(),
        budget: MemoryBudget::new(MEMORY),
        rate_limits: RateLimits::default(),
        resolver: None,
    }
}

#[cfg(test)]
mod tests;
