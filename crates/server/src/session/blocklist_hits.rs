//! What is reported when a client wants a destination that is on the blocklist: an event for each tag, and to the client an
//! alert if it is refused. The only event that names a destination, and only one that the operator has listed.
//! Field names are the reference's.

use std::sync::{Arc, OnceLock};

use culvert_protocol::api::{RequestKind, SessionId};

use super::alerts::Alerts;
use super::api::Words;
use super::report::{add_place, write};
use crate::forward::blocklist::Tag;
use crate::forward::exit::{HitObserver, Listed};
use crate::geoip::Place;
use crate::log::Logger;

/// One tunnel's reports.
#[derive(Clone)]
pub(super) struct BlocklistHits(Arc<Inner>);

struct Inner {
    log: Logger,
    session: SessionId,
    place: Place,
    alerts: Arc<Alerts>,
    /// What the client said of itself; flows come only after that.
    client: OnceLock<Arc<Words>>,
}

impl BlocklistHits {
    pub(super) fn new(log: &Logger, session: SessionId, place: Place, alerts: Arc<Alerts>) -> Self {
        Self(Arc::new(Inner { log: log.clone(), session, place, alerts, client: OnceLock::new() }))
    }

    /// Who the client is, from its handshake; said again, it changes nothing.
    pub(super) fn identify(&self, client: &Arc<Words>) {
        self.0.client.get_or_init(|| client.clone());
    }
}

impl HitObserver for BlocklistHits {
    fn hit(&self, listed: Listed<'_>, tag: &Tag) {
        let inner = &*self.0;
        let client = inner.client.get();
        let mut fields = client.map(|words| words.log_fields(RequestKind::Status)).unwrap_or_default();
        fields.insert("session_id".into(), inner.session.as_str().into());
        add_place(&mut fields, &inner.place);
        match listed {
            Listed::Address(address) => {
                fields.insert("blocklist_ip_address".into(), address.to_string().into())
            }
            Listed::Name(name) => fields.insert("blocklist_domain".into(), name.into()),
        };
        fields.insert("blocklist_source".into(), (*tag.source).into());
        fields.insert("blocklist_subject".into(), (*tag.subject).into());
        write(&inner.log, "server_blocklist_hit", fields);
    }

    fn hits_exceeded(&self) {
        self.0.log.warning("blocklist hits log limit exceeded", []);
    }

    fn blocked(&self, tag: &Tag) {
        self.0.alerts.unsafe_traffic(&tag.subject);
    }
}
