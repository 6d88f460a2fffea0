//! What the server tells a client's user: each thing once a tunnel, and only to clients that listen.
//! Source: PROTOCOL.md 4.10.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use culvert_protocol::api::{Alert, DISALLOWED_TRAFFIC, UNSAFE_TRAFFIC, request_name};
use culvert_ssh_tokio::Handle;

use crate::geoip::Place;
use crate::live::Live;
use crate::psinet::{Psinet, Visitor};

/// Different alerts that one tunnel sends at most.
const MOST: usize = 16;

/// Sends alerts.
pub(crate) struct Alerts {
    /// `None` for clients that take no requests.
    to: Option<Handle>,
    /// Where pages come from that say more.
    psinet: Arc<Live<Psinet>>,
    place: Place,
    /// Nobody knows before the handshake.
    client: OnceLock<Visitor>,
    sent: Mutex<BTreeSet<Alert>>,
}

impl Alerts {
    pub(crate) fn new(to: Option<Handle>, psinet: Arc<Live<Psinet>>, place: Place) -> Self {
        Self { to, psinet, place, client: OnceLock::new(), sent: Mutex::default() }
    }

    /// Who the client is, from its handshake; said again, it changes nothing.
    pub(crate) fn identify(&self, client: &Visitor) {
        self.client.get_or_init(|| client.clone());
    }

    /// The client tried what the rules forbid.
    pub(crate) fn disallowed_traffic(&self) {
        self.raise(DISALLOWED_TRAFFIC, "");
    }

    /// The client wanted a destination that is known for `subject`, and was refused it.
    pub(crate) fn unsafe_traffic(&self, subject: &str) {
        self.raise(UNSAFE_TRAFFIC, subject);
    }

    fn raise(&self, reason: &str, subject: &str) {
        let Some(to) = &self.to else { return };
        let nobody = Visitor::default();
        let client = self.client.get().unwrap_or(&nobody);
        let action_urls = self.psinet.get().alert_urls(reason, client, &self.place);
        let alert = Alert { reason: reason.to_owned(), subject: subject.to_owned(), action_urls };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() < MOST && !sent.contains(&alert) {
            to.notify(request_name::ALERT, alert.to_json().as_bytes());
            sent.insert(alert);
        }
    }
}
