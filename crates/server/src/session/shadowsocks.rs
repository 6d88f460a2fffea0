//! Who has not shown yet that it has the Shadowsocks key. Whatever is wrong with what it sends, or nothing is, it is kept waiting like all
//! strangers (`hold`), and no byte is sent to it. Source: PROTOCOL.md 2.4, TRANSPORTS.md 4.

use culvert_transport::Stream;
use culvert_transport::shadowsocks::{DRAWN_LEN, Key, Refused, greet};
use tokio::time::Instant;

use super::stranger::{NOT_BEFORE, must_leave};
use super::{Arrival, Stopping};
use crate::admission::Treated;
use crate::hold;
use crate::services::Services;

/// The stream inside, where the preamble begins. `None`: there is none, and the connection is closed.
pub(super) async fn introduce(
    mut stream: Stream,
    arrival: Arrival,
    key: &Key,
    services: &Services,
    stopping: &mut Stopping,
) -> Option<Treated> {
    let mut ticket = services.held.enter();
    let deadline = services.handshakes.probe_hold.map(|limit| arrival.at + limit);
    let greeting = tokio::select! {
        greeting = greet(&mut stream, key) => greeting,
        () = must_leave(&mut ticket, deadline, stopping) => {
            hold::close(stream).await;
            return None;
        }
    };
    let irregularity = match greeting {
        // Before anything else is looked at: who records a client must not learn from an answer that it was one.
        Ok(greeting) if services.ssh.admit_salt(&greeting.salt, arrival.peer) => {
            let mut drawn = [0; DRAWN_LEN];
            aws_lc_rs::rand::fill(&mut drawn).ok()?;
            let below = services.treatment.of_carrier(stream, arrival);
            let stream = greeting.into_stream(below.stream, key, drawn);
            return Some(Treated { stream, ..below });
        }
        Ok(_) => Some("replayed Shadowsocks salt"),
        Err(Refused::Forged) => Some("invalid Shadowsocks salt or chunk"),
        Err(Refused::Reflected) => Some("reflected Shadowsocks salt"),
        Err(Refused::Ended | Refused::Network(_)) => None,
    };
    if let Some(irregularity) = irregularity {
        services.irregular.record(arrival.protocol, arrival.port, irregularity);
    }
    hold::drain(
        stream,
        &services.held,
        Instant::now() + NOT_BEFORE,
        must_leave(&mut ticket, deadline, stopping),
    )
    .await;
    None
}
