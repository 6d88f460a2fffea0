//! From the first byte to login. A peer without a valid preamble is a stranger: no byte is sent to it and it is kept
//! waiting like all strangers (`hold`), whether it is silent, slow or wrong. Time limits begin with the preamble.
//! Source: PROTOCOL.md 2.4, 3.5, 3.6.

use std::future::pending;

use culvert_protocol::TunnelProtocol;
use culvert_ssh::{Error, PreambleFacts};
use culvert_ssh_tokio::{End, Incoming};
use culvert_transport::Stream;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::link::{Link, Step};
use super::{Stopping, stopped};
use crate::hold::{self, Ticket};
use crate::services::Services;

/// Which port a connection came to.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) protocol: TunnelProtocol,
    pub(super) port: u16,
}

/// A client that has logged in.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) password: Zeroizing<Vec<u8>>,
    pub(super) preamble: Option<PreambleFacts>,
}

/// Brings a connection to login. `None`: it came to nothing, and is closed.
pub(super) async fn open(link: Link, at: At, services: &Services, stopping: &mut Stopping) -> Option<Opened> {
    let (link, preamble) = match at.protocol.obfuscates_ssh() {
        true => preamble(link, at, services, stopping).await.map(|(link, facts)| (link, Some(facts)))?,
        false => (link, None),
    };
    // Nobody without the key gets here, but on plain SSH ports, where every server has such a limit.
    let deadline = services.handshakes.duration.map(|limit| Instant::now() + limit);
    let Some(slot) = services.slots.acquire().await else {
        link.close().await;
        return None;
    };
    let (link, password) = login(link, at, deadline, stopping).await?;
    drop(slot);
    Some(Opened { link, password, preamble })
}

/// Waits for a preamble, without end if it must be.
async fn preamble(
    mut link: Link,
    at: At,
    services: &Services,
    stopping: &mut Stopping,
) -> Option<(Link, PreambleFacts)> {
    let mut ticket = services.held.enter();
    let deadline = services.handshakes.probe_hold.map(|limit| Instant::now() + limit);
    loop {
        tokio::select! {
            step = link.next() => match step {
                Step::Incoming(Incoming::Preamble(facts)) => return Some((link, facts)),
                // Nothing else comes before it.
                Step::Incoming(_) => {}
                Step::Ended(stream, end) => {
                    if let End::Protocol(error) = &*end {
                        services.irregular.record(at.protocol, at.port, irregularity(error));
                        hold::drain(stream, must_leave(&mut ticket, deadline, stopping)).await;
                    }
                    return None;
                }
            },
            () = must_leave(&mut ticket, deadline, stopping) => {
                link.close().await;
                return None;
            }
        }
    }
}

/// Returns when a stranger has to go.
async fn must_leave(ticket: &mut Ticket, deadline: Option<Instant>, stopping: &mut Stopping) {
    tokio::select! {
        () = ticket.evicted() => {}
        () = at_deadline(deadline) => {}
        () = stopped(stopping) => {}
    }
}

/// What a log says about a stranger.
fn irregularity(error: &Error) -> &'static str {
    match error {
        Error::Preamble(_) => "invalid preamble",
        Error::Replayed => "replayed preamble",
        _ => "invalid opening",
    }
}

/// Key exchange and login.
async fn login(
    mut link: Link,
    at: At,
    deadline: Option<Instant>,
    stopping: &mut Stopping,
) -> Option<(Link, Zeroizing<Vec<u8>>)> {
    loop {
        tokio::select! {
            step = link.next() => match step {
                Step::Incoming(Incoming::Authenticated { password }) => return Some((link, password)),
                Step::Incoming(_) => {}
                Step::Ended(stream, end) => {
                    fail(stream, &end, at, deadline, stopping).await;
                    return None;
                }
            },
            () = at_deadline(deadline) => break,
            () = stopped(stopping) => break,
        }
    }
    link.close().await;
    None
}

/// Ends a connection whose handshake failed. Behind a preamble it ends as all failures there do, at the deadline; so
/// somebody who tampers with a client's bytes cannot tell by the time which of them mattered (PROTOCOL.md 2.4).
async fn fail(stream: Stream, end: &End, at: At, deadline: Option<Instant>, stopping: &mut Stopping) {
    let is_protocol = matches!(end, End::Protocol(_));
    match (is_protocol, at.protocol.obfuscates_ssh()) {
        (true, true) => {
            let leave = async {
                tokio::select! {
                    () = at_deadline(deadline) => {}
                    () = stopped(stopping) => {}
                }
            };
            hold::drain(stream, leave).await;
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
