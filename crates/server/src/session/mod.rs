//! One accepted connection from its first byte to its report. Order: `opening` (preamble, key exchange, login), then
//! `tunnel` (requests and flows), then `report`.

mod alerts;
pub(crate) mod api;
pub(crate) mod auth;
mod link;
mod opening;
pub(crate) mod registry;
pub(crate) mod report;
mod tunnel;

use std::sync::Arc;

use culvert_transport::Accepted;
use tokio::sync::watch;

use crate::services::Services;
use link::Link;

/// Tells every connection that the server stops. Never goes back to false.
pub(crate) type Stopping = watch::Receiver<bool>;

/// Serves one connection to its end.
pub(crate) async fn serve(accepted: Accepted, port: u16, services: Arc<Services>, mut stopping: Stopping) {
    let Accepted { stream, facts } = accepted;
    let connection = match services.ssh.connection(facts.protocol, facts.peer) {
        Ok(connection) => connection,
        Err(error) => {
            services
                .log
                .error("cannot serve a connection", [("error", crate::log::Field::local_error(&error))]);
            return;
        }
    };
    let link = Link::new(connection, stream);
    let at = opening::At { protocol: facts.protocol, port };
    if let Some(opened) = opening::open(link, at, &services, &mut stopping).await {
        tunnel::run(opened, facts, &services, &mut stopping).await;
    }
}

/// Returns when the server stops.
pub(crate) async fn stopped(stopping: &mut Stopping) {
    // An error is the end of whoever would tell, which is the end of the server too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
