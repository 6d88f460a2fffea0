//! From the preamble, or from the first byte where there is none, to login. Time limits begin with the preamble.
//! Source: PROTOCOL.md 2.4, 3.5, 3.6.

use std::future::pending;
use std::io;
use std::sync::Arc;

use culvert_ssh::PreambleFacts;
use culvert_ssh_tokio::{End, Incoming};
use culvert_transport::Stream;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::carriage::Carriage;
use super::link::{Link, Step};
use super::stranger::must_leave;
use super::{Arrival, Stopping, stopped};
use crate::admission::{HandshakeSlot, Trial};
use crate::figures::Refusal;
use crate::hold;
use crate::services::Services;

/// A client that has logged in.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) password: Zeroizing<Vec<u8>>,
    pub(super) preamble: Option<PreambleFacts>,
    pub(super) trial: Option<Box<Trial>>,
    pub(super) carriage: Carriage,
}

/// Brings a connection to login. `None`: it came to nothing, and is closed.
pub(super) async fn open(
    link: Link,
    arrival: Arrival,
    slot: HandshakeSlot,
    services: &Services,
    stopping: &mut Stopping,
) -> Option<Opened> {
    // Nobody without the key gets here, but on plain SSH ports, where every server has such a limit.
    let deadline = services.handshakes.duration.map(|limit| Instant::now() + limit);
    let refused = |why| services.figures.refused(arrival.protocol, why);
    let mut handshake = Handshake { link, preamble: None, slot };
    match handshake.login(deadline, stopping).await {
        Outcome::Password(password) => {
            services.figures.logged_in(arrival.protocol, arrival.at.elapsed());
            Some(Opened {
                link: handshake.link,
                password,
                preamble: handshake.preamble,
                trial: None,
                carriage: Carriage::default(),
            })
        }
        Outcome::Late => {
            refused(Refusal::TimedOut);
            handshake.link.close().await;
            None
        }
        Outcome::Ended(stream, end) => {
            drop(handshake);
            refused(if matches!(*end, End::Protocol(_)) { Refusal::Protocol } else { Refusal::Left });
            fail(stream, &end, Failed { arrival, deadline }, services, stopping).await;
            None
        }
    }
}

/// A connection before login.
struct Handshake {
    link: Link,
    preamble: Option<PreambleFacts>,
    slot: HandshakeSlot,
}

enum Outcome {
    Password(Zeroizing<Vec<u8>>),
    /// The time is over, or the server's, or others need the place.
    Late,
    Ended(Stream, Arc<End>),
}

impl Handshake {
    /// Key exchange and login.
    async fn login(&mut self, deadline: Option<Instant>, stopping: &mut Stopping) -> Outcome {
        loop {
            tokio::select! {
                step = self.link.next() => match step {
                    Step::Incoming(Incoming::Authenticated { password }) => return Outcome::Password(password),
                    Step::Incoming(Incoming::Preamble(facts)) => self.preamble = Some(facts),
                    Step::Incoming(_) => {}
                    Step::Ended(stream, end) => return Outcome::Ended(stream, end),
                },
                () = at_deadline(deadline) => return Outcome::Late,
                () = self.slot.evicted() => return Outcome::Late,
                () = stopped(stopping) => return Outcome::Late,
            }
        }
    }
}

/// What is known of a handshake that failed.
struct Failed {
    arrival: Arrival,
    deadline: Option<Instant>,
}

/// Ends a connection whose handshake failed. Behind a preamble it ends as all failures there do, at the deadline, and is one
/// of those kept waiting; so somebody who tampers with a client's bytes cannot tell by the time which of them mattered
/// (PROTOCOL.md 2.4).
async fn fail(stream: Stream, end: &End, failed: Failed, services: &Services, stopping: &mut Stopping) {
    // A transport says so when what comes is not authentic.
    let is_protocol = match end {
        End::Protocol(_) => true,
        End::Network(error) => error.kind() == io::ErrorKind::InvalidData,
        End::Local | End::Closed => false,
    };
    match (is_protocol, failed.arrival.protocol.obfuscates_ssh()) {
        (true, true) => {
            let mut ticket = services.held.enter();
            let leave = must_leave(&mut ticket, failed.deadline, stopping);
            hold::drain(stream, &services.held, Instant::now(), leave).await;
        }
        (true, false) => hold::close(stream).await,
        (false, _) => {}
    }
}

async fn at_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
