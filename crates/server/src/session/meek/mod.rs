//! Meek: who has a session, or may begin one, is served; everybody else sees a web site (`decoy`). A session's stream is served like a connection
//! of its own. Source: TRANSPORTS.md 2.5.

mod admit;
mod connection;
mod decoy;

use std::sync::Arc;

use culvert_protocol::TunnelProtocol;
use culvert_transport::Stream;
use culvert_transport::meek::server::Sessions;
use culvert_transport::meek::wire::{BoxError, CookieOpener};

use super::{Arrival, Stopping, stopped};
use crate::config::MeekConfig;
use crate::services::Services;
use connection::Connection;

/// What meek needs.
pub(crate) struct MeekService {
    opener: CookieOpener,
    sessions: Sessions,
    config: MeekConfig,
    /// What a fronted listener may be told to be.
    fronted: Vec<TunnelProtocol>,
}

impl MeekService {
    pub(crate) fn new(config: MeekConfig, fronted: Vec<TunnelProtocol>) -> Result<Self, BoxError> {
        let opener = CookieOpener::new(config.obfuscated_key.expose(), config.private_key.expose())?;
        Ok(Self { opener, sessions: Sessions::new(config.limits), config, fronted })
    }
}

/// Serves one connection of HTTP/1.1 that comes straight from a client, or from somebody else.
pub(super) async fn serve(stream: Stream, arrival: Arrival, services: Arc<Services>, mut stopping: Stopping) {
    let site = services.sites.get(&arrival.protocol).cloned();
    let connection = Connection::new(stream, arrival, services, stopping.clone());
    tokio::select! {
        () = connection.serve(site) => {}
        () = stopped(&mut stopping) => {}
    }
}
