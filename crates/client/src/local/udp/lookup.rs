//! DNS queries over the UDP gateway: messages, and whose answer is which. Not the cache: see `names.rs`.
//!
//! Source: RFC 1035; PROTOCOL.md 7.1.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::sync::oneshot;

use super::connections::Owner;

/// Lookups at once.
const MOST: usize = 64;

/// Lookups that wait for their answer.
#[derive(Default)]
pub(super) struct Lookups {
    waiting: Mutex<BTreeMap<u16, Waiting>>,
}

struct Waiting {
    query: Query,
    answer: oneshot::Sender<Answer>,
}

/// What a resolver says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) address: Option<IpAddr>,
    /// In seconds.
    pub(super) lives: u32,
}

impl Lookups {
    /// Whose connections those of lookups are.
    pub(super) const OWNER: Owner = 0;

    /// A query, and where its answer will be; `None` for what is no name, or when too many wait.
    pub(super) fn begin(
        &self,
        name: &str,
        kind: RecordType,
        id: u16,
    ) -> Option<(Vec<u8>, oneshot::Receiver<Answer>)> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let query = Query::query(name, kind);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let bytes = message.to_vec().ok()?;
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, other| !other.answer.is_closed());
        if waiting.len() >= MOST || waiting.contains_key(&id) {
            return None;
        }
        waiting.insert(id, Waiting { query, answer });
        Some((bytes, receiver))
    }

    /// Takes a resolver's datagram; what answers no question is dropped.
    pub(super) fn deliver(&self, packet: &[u8]) {
        let Ok(message) = Message::from_vec(packet) else { return };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let id = message.metadata.id;
        let fits = |waiting: &Waiting| {
            message.metadata.message_type == MessageType::Response
                && message.queries.first() == Some(&waiting.query)
        };
        if waiting.get(&id).is_some_and(fits)
            && let Some(answered) = waiting.remove(&id)
        {
            let _ = answered.answer.send(read(&message, answered.query.query_type()));
        }
    }
}

fn read(message: &Message, kind: RecordType) -> Answer {
    const NOTHING_LIVES: u32 = 10;
    if message.metadata.response_code != ResponseCode::NoError {
        return Answer { address: None, lives: NOTHING_LIVES };
    }
    let found = message.answers.iter().find_map(|record| {
        let address = match &record.data {
            RData::A(ip) if kind == RecordType::A => IpAddr::V4(ip.0),
            RData::AAAA(ip) if kind == RecordType::AAAA => IpAddr::V6(ip.0),
            _ => return None,
        };
        Some(Answer { address: Some(address), lives: record.ttl })
    });
    found.unwrap_or(Answer { address: None, lives: NOTHING_LIVES })
}
