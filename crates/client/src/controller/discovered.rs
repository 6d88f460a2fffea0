//! Servers that a server tells of in its handshake reply: more of them, or itself with what its entry lacked.
//! PROTOCOL.md 4.5, 5.7.

use std::net::IpAddr;

use culvert_protocol::ServerEntry;
use culvert_protocol::api::HandshakeReply;
use culvert_protocol::server_entry::EntrySource;
use culvert_protocol::timestamp;
use time::OffsetDateTime;

use crate::notice::Notices;
use crate::store::{Received, Replace, Store, Stored};

/// More of them in one reply are not looked at.
const MOST: usize = 1_000;

/// What a reply says of servers, and who says it.
pub(super) struct Discovered {
    lines: Vec<String>,
    received: Received,
    /// The server that answered, and whether its own entry was asked for.
    teller: IpAddr,
    asked: bool,
}

impl Discovered {
    /// `None` when the reply names no servers.
    pub(super) fn new(reply: &HandshakeReply, teller: &ServerEntry) -> Option<Self> {
        let lines: Vec<String> = reply.encoded_server_list.iter().take(MOST).cloned().collect();
        // The server's clock is more likely to be right.
        let now = timestamp::parse(&reply.server_timestamp).unwrap_or_else(OffsetDateTime::now_utc);
        let asked = !teller.fields().has_signature() || teller.text("providerID").is_none();
        let found = Self { lines, received: Received::at(now), teller: teller.address(), asked };
        (!found.lines.is_empty()).then_some(found)
    }

    /// Stores them, also over what is there. Blocks.
    pub(super) fn store(&self, store: &Store, notices: &Notices) {
        let mut changed = 0;
        for line in &self.lines {
            let entry = match ServerEntry::decode(line) {
                Ok(entry) => entry,
                Err(error) => {
                    notices.warning(format!("the server told of another that cannot be used: {error}"));
                    continue;
                }
            };
            let (source, received) = self.origin(&entry, store);
            match store.put_received(&entry, &source, received, Replace::Always) {
                Ok(Stored::Added(_) | Stored::Replaced(_)) => changed += 1,
                Ok(Stored::Kept(_) | Stored::Pruned) => {}
                Err(error) => {
                    notices.warning(format!("storing servers that the server told of: {error}"));
                    return;
                }
            }
        }
        if changed > 0 {
            notices.info(format!("the server told of {changed} servers"));
        }
    }

    /// An entry that was asked for, because it lacked something, was not discovered here.
    fn origin(&self, entry: &ServerEntry, store: &Store) -> (EntrySource, Received) {
        let own = self.asked && entry.address() == self.teller;
        let known = own.then(|| store.server(store.id_of(entry)?)).flatten();
        known.map_or((EntrySource::Discovery, self.received), |known| (known.source, known.received))
    }
}

#[cfg(test)]
mod tests {
    use culvert_protocol::EntryFields;

    use super::*;

    fn entry(address: &str, more: &str) -> ServerEntry {
        let text = format!(r#"{{"ipAddress":"{address}","capabilities":["OSSH"]{more}}}"#);
        ServerEntry::try_from(EntryFields::from_json(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn other_servers_are_discovered_and_the_own_entry_is_made_whole() {
        let store = Store::in_memory();
        let teller = entry("192.0.2.1", "");
        let received = Received::at(OffsetDateTime::UNIX_EPOCH + time::Duration::hours(5));
        let own = store.put_received(&teller, &EntrySource::Embedded, received, Replace::IfNewer).unwrap();
        let whole = entry("192.0.2.1", r#","providerID":"AB","signature":"x""#);
        let reply = HandshakeReply {
            encoded_server_list: vec![whole.encode(), "nonsense".into(), entry("192.0.2.2", "").encode()],
            server_timestamp: "2026-01-02T03:04:05Z".into(),
            ..HandshakeReply::default()
        };
        Discovered::new(&reply, &teller).unwrap().store(&store, &Notices::silent());
        let own = store.server(own.id().unwrap()).unwrap();
        assert!(own.entry == whole);
        assert_eq!((own.source, own.received), (EntrySource::Embedded, received));
        let other = store.server(store.id_of(&entry("192.0.2.2", "")).unwrap()).unwrap();
        assert_eq!(
            (other.source, other.received.to_text().as_str()),
            (EntrySource::Discovery, "2026-01-02T03:00:00Z")
        );
        assert_eq!(store.count(), 2);
    }
}
