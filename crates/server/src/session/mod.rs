//! One accepted connection from its first byte to its report. Order: `stranger` (preamble), `opening` (key exchange, login), then
//! `tunnel` (requests and flows), then `report`.

mod alerts;
pub(crate) mod api;
pub(crate) mod auth;
mod blocklist_hits;
mod carriage;
mod gone;
mod link;
pub(crate) mod meek;
mod opening;
pub(crate) mod registry;
pub(crate) mod report;
mod shadowsocks;
mod stranger;
pub(crate) mod tls;
mod tunnel;

use std::sync::Arc;

use culvert_obfuscation::ServerPreamble;
use culvert_protocol::{BaseProtocol, TunnelProtocol};
use culvert_transport::throttle::Throttle;
use culvert_transport::{Remote, Stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission::{AddressGroup, Draw, Treated};
use crate::figures::Refusal;
use crate::hold;
use crate::services::Services;
use carriage::Carriage;
use link::Link;
use opening::Opened;
use stranger::Introduced;

/// Tells every connection that the server stops. Never goes back to false.
pub(crate) type Stopping = watch::Receiver<bool>;

/// How a connection came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) protocol: TunnelProtocol,
    /// Which port it came to.
    pub(crate) port: u16,
    pub(crate) peer: Remote,
    /// When it was accepted.
    pub(crate) at: Instant,
    /// What the cutting of its first bytes follows from.
    pub(crate) draw: Draw,
}

/// Whether a new connection may belong to a tunnel that is up, or be one that a site serves.
pub(crate) fn may_be_of_a_tunnel(protocol: TunnelProtocol) -> bool {
    let base = protocol.base();
    base == BaseProtocol::TlsOssh || base.traits().meek.is_some()
}

/// Serves one connection to its end.
pub(crate) async fn serve(stream: Stream, arrival: Arrival, services: Arc<Services>, mut stopping: Stopping) {
    match arrival.protocol.base() {
        BaseProtocol::TlsOssh | BaseProtocol::Shadowsocks => {
            Box::pin(serve_carrier(stream, arrival, services, stopping)).await;
        }
        base if base.traits().meek.is_some() => {
            Box::pin(meek::serve(stream, arrival, services, stopping)).await;
        }
        // Nothing is around it, or it is a stream of QUIC, which is let in before.
        _ => serve_inside(stream, arrival, None, &services, &mut stopping).await,
    }
}

/// Serves a connection of a transport that is a stream inside it.
async fn serve_carrier(stream: Stream, arrival: Arrival, services: Arc<Services>, mut stopping: Stopping) {
    let tls = services.tls.get(&arrival.protocol);
    let inside = match (arrival.protocol.base(), &services.shadowsocks_key, tls) {
        (BaseProtocol::TlsOssh, _, Some(tls)) => {
            let introduced = tls::introduce(stream, arrival, tls, &services, &mut stopping);
            Box::pin(introduced).await
        }
        (BaseProtocol::Shadowsocks, Some(key), _) => {
            let introduced = shadowsocks::introduce(stream, arrival, key, &services, &mut stopping);
            Box::pin(introduced).await
        }
        // Neither is listened for without its key.
        _ => None,
    };
    if let Some(Treated { stream, cuts, follows }) = inside {
        let carriage = Box::new(Carriage { cuts, follows, meek: None });
        Box::pin(serve_inside(stream, arrival, Some(carriage), &services, &mut stopping)).await;
    }
}

/// Serves the stream that a transport carries, where the preamble begins or, without one, SSH.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` would keep its arguments twice in every stranger's task"
)]
pub(crate) fn serve_inside<'s>(
    stream: Stream,
    arrival: Arrival,
    // Boxed for strangers' sake, who mostly have none.
    carriage: Option<Box<Carriage>>,
    services: &'s Services,
    stopping: &'s mut Stopping,
) -> impl Future<Output = ()> + Send + use<'s> {
    async move {
        let start = match services.ssh.keyword(arrival.protocol) {
            Some(keyword) => match stranger::introduce(stream, arrival, keyword, services, stopping).await {
                Some(introduced) => {
                    Start::new(introduced, arrival, carriage.map(|it| *it).unwrap_or_default(), services)
                }
                None => return,
            },
            None => {
                let Treated { stream, cuts, follows } = services.treatment.of_carrier(stream, arrival);
                let carriage = Carriage { cuts, follows, ..carriage.map(|it| *it).unwrap_or_default() };
                Start { stream, carriage, preamble: None, received: Vec::new() }
            }
        };
        // On its own, so that strangers, who may be many, do not take the room of a tunnel.
        Box::pin(serve_client(start, arrival, services, stopping)).await;
    }
}

/// Where the SSH connection begins.
struct Start {
    stream: Stream,
    carriage: Carriage,
    preamble: Option<Box<ServerPreamble>>,
    received: Vec<u8>,
}

impl Start {
    fn new(introduced: Introduced, arrival: Arrival, mut carriage: Carriage, services: &Services) -> Self {
        let Introduced { mut stream, preamble, rest } = introduced;
        if arrival.protocol.base() == BaseProtocol::Ossh {
            let treated = services.treatment.of_preamble(stream, arrival.protocol, &preamble);
            stream = treated.stream;
            (carriage.cuts, carriage.follows) = (treated.cuts, treated.follows);
        }
        Self { stream, carriage, preamble: Some(preamble), received: rest }
    }
}

async fn serve_client(start: Start, arrival: Arrival, services: &Services, stopping: &mut Stopping) {
    let Start { stream, carriage, preamble, received } = start;
    // Before anything is made that takes room.
    let Some(slot) = services.slots.acquire(AddressGroup::of(arrival.peer.ip())).await else {
        services.figures.refused(arrival.protocol, Refusal::Queue);
        services.turned_away.record("no place to log in");
        return hold::close(stream).await;
    };
    let connection = match services.ssh.connection(preamble) {
        Ok(connection) => connection,
        Err(error) => {
            services
                .log
                .error("cannot serve a connection", [("error", crate::log::Field::local_error(&error))]);
            return;
        }
    };
    let link =
        Link::new(connection, received, Throttle::new(stream, &services.limits_before_handshake(arrival)));
    let trial = services.treatment.trial(arrival, &services.geoip.get());
    let opened = opening::open(link, arrival, slot, services, stopping);
    if let Some(opened) = opened.await {
        tunnel::run(Opened { trial, carriage, ..opened }, arrival, services, stopping).await;
    }
}

/// Returns when the server stops.
pub(crate) async fn stopped(stopping: &mut Stopping) {
    // An error is the end of whoever would tell, which is the end of the server too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_stranger_takes_little_room() {
        let size = size(serve);
        assert!(size <= 1536, "{size} bytes in every stranger's task");
    }
}
