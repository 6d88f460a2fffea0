//! What the server tells a client's user: each thing once a tunnel, and only to clients that listen.
//! Source: PROTOCOL.md 4.10.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use culvert_protocol::api::{Alert, DISALLOWED_TRAFFIC, UNSAFE_TRAFFIC, request_name};
use culvert_ssh_tokio::Handle;

/// Different alerts that one tunnel sends at most.
const MOST: usize = 16;

/// Sends alerts.
pub(crate) struct Alerts {
    /// `None` for clients that take no requests.
    to: Option<Handle>,
    sent: Mutex<BTreeSet<Alert>>,
}

impl Alerts {
    pub(crate) fn new(to: Option<Handle>) -> Self {
        Self { to, sent: Mutex::default() }
    }

    /// The client tried what the rules forbid.
    pub(crate) fn disallowed_traffic(&self) {
        self.raise(Alert { reason: DISALLOWED_TRAFFIC.to_owned(), ..Alert::default() });
    }

    /// The client wanted a destination that is known for `subject`, and was refused it.
    pub(crate) fn unsafe_traffic(&self, subject: &str) {
        let (reason, subject) = (UNSAFE_TRAFFIC.to_owned(), subject.to_owned());
        self.raise(Alert { reason, subject, ..Alert::default() });
    }

    fn raise(&self, alert: Alert) {
        let Some(to) = &self.to else { return };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() < MOST && !sent.contains(&alert) {
            to.notify(request_name::ALERT, alert.to_json().as_bytes());
            sent.insert(alert);
        }
    }
}
