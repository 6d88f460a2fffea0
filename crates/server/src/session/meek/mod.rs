//! Meek: who has a session, or may begin one, is served; everybody else sees a web site (`decoy`). A session's stream is served like a connection
//! of its own. Source: TRANSPORTS.md 2.5.

mod admit;
mod connection;
mod decoy;
mod demux;
mod fronted;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::Stream;
use culvert_transport::meek::server::Sessions;
use culvert_transport::meek::wire::{BoxError, CookieOpener};

use tokio::time::{sleep, timeout};

use super::carriage::Carriage;
use super::{Arrival, Stopping, serve_inside, stopped, tls};
use crate::admission::Treated;
use crate::config::MeekConfig;
use crate::hold;
use crate::services::Services;
use connection::Connection;
use demux::Prepended;
use rate::RateLimiter;

/// How long connections stay when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the first bytes inside TLS may take, where the configuration sets no limit.
const FIRST_BYTES: Duration = Duration::from_secs(30);

/// What meek needs.
pub(crate) struct MeekService {
    opener: CookieOpener,
    sessions: Sessions,
    config: MeekConfig,
    rate: RateLimiter,
}

impl MeekService {
    pub(crate) fn new(config: MeekConfig) -> Result<Self, BoxError> {
        let opener = CookieOpener::new(config.obfuscated_key.expose(), config.private_key.expose())?;
        Ok(Self { opener, sessions: Sessions::new(config.limits), config, rate: RateLimiter::default() })
    }
}

/// Serves one connection that comes straight from a client, or from somebody else, or from a CDN.
pub(super) async fn serve(stream: Stream, arrival: Arrival, services: Arc<Services>, mut stopping: Stopping) {
    let Some(tls) = services.tls.get(&arrival.protocol) else {
        let site = services.sites.get(&arrival.protocol).cloned();
        let whence = (arrival, Carriage::default());
        let connection = Connection::new(stream, BytesMut::new(), whence, services, stopping.clone());
        return until_stopped(connection.serve(site), &mut stopping).await;
    };
    let introduced = tls::introduce(stream, arrival, tls, &services, &mut stopping);
    let Some(Treated { mut stream, cuts, follows }) = Box::pin(introduced).await else { return };
    let carriage = Carriage { cuts, follows, meek: None };
    if arrival.protocol.has(Feature::Fronted) {
        let serving = fronted::serve(stream, (arrival, carriage), services, stopping.clone());
        return until_stopped(serving, &mut stopping).await;
    }
    let mut received = BytesMut::new();
    if tls.is_shared() {
        let limit = services.handshakes.duration.unwrap_or(FIRST_BYTES);
        match timeout(limit, demux::is_request(&mut stream, &mut received)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) if !services.admits(arrival.protocol) => return hold::close(stream).await,
            Ok(Ok(false)) => {
                let arrival = Arrival { protocol: TunnelProtocol::TLS_OSSH, ..arrival };
                let stream = Box::new(Prepended::new(received, stream));
                return serve_inside(stream, arrival, Some(Box::new(carriage)), &services, &mut stopping)
                    .await;
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // Strangers were sent elsewhere before TLS, or see our own site in it.
    let connection = Connection::new(stream, received, (arrival, carriage), services, stopping.clone());
    until_stopped(connection.serve(None), &mut stopping).await;
}

/// Clients get a moment to fetch their tunnels' last words.
async fn until_stopped(serving: impl Future<Output = ()>, stopping: &mut Stopping) {
    let late = async {
        stopped(stopping).await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        () = serving => {}
        () = late => {}
    }
}
