//! Questions for addresses as bytes, and their answers. No sockets. Sources: RFC 1035 section 4, RFC 6891 section 6.1.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

/// What a datagram may be for nobody to have to take it apart. RFC 6891 section 6.2.5 leaves it to us.
const MAX_PAYLOAD: u16 = 1232;
/// Addresses taken of one answer, and aliases that are followed in it.
const MOST_ADDRESSES: usize = 32;
const MOST_ALIASES: usize = 16;

/// The kind of address that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A question, and what its answer must be like.
#[derive(Clone)]
pub(super) struct Question {
    name: Name,
    record: RecordType,
    id: u16,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Addresses, possibly none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// There is more than fits a datagram.
    Truncated,
    /// The server does not understand the question as it was put.
    NotUnderstood,
    /// The server does not know, or does not want to tell.
    Nothing,
}

impl Question {
    /// `None` when the name is none for DNS.
    pub(super) fn new(name: &str, family: Family, id: u16) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        let record = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
        Some(Self { name, record, id })
    }

    /// What is sent; extended, larger answers are taken.
    pub(super) fn bytes(&self, extended: bool) -> Option<Vec<u8>> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.record));
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            message.set_edns(edns);
        }
        message.to_vec().ok()
    }

    /// Reads what may be the answer; `None` when it is none, or none to this question.
    pub(super) fn answer(&self, bytes: &[u8]) -> Option<Said> {
        if *bytes.first_chunk::<2>()? != self.id.to_be_bytes() {
            return None;
        }
        let message = Message::from_vec(bytes).ok()?;
        if message.metadata.message_type != MessageType::Response {
            return None;
        }
        let code = message.metadata.response_code;
        match message.queries.as_slice() {
            [query] if self.is(query) => {}
            // Who does not understand may not be able to repeat.
            [] if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) => {}
            _ => return None,
        }
        if message.metadata.truncation {
            return Some(Said::Truncated);
        }
        Some(match code {
            ResponseCode::NoError => Said::Addresses(self.addresses(&message)),
            ResponseCode::NXDomain => Said::NoName,
            ResponseCode::FormErr | ResponseCode::NotImp => Said::NotUnderstood,
            _ => Said::Nothing,
        })
    }

    fn is(&self, query: &Query) -> bool {
        query.name() == &self.name && query.query_type() == self.record && query.query_class() == DNSClass::IN
    }

    fn addresses(&self, message: &Message) -> Vec<IpAddr> {
        let mut names = vec![self.name.to_lowercase()];
        // Aliases stand in any order.
        for _ in 0..MOST_ALIASES {
            let next = message.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if names.contains(&record.name.to_lowercase()) => {
                    Some(alias.0.to_lowercase()).filter(|alias| !names.contains(alias))
                }
                _ => None,
            });
            match next {
                Some(name) => names.push(name),
                None => break,
            }
        }
        let mut found = Vec::new();
        for record in &message.answers {
            let address: IpAddr = match (&record.data, self.record) {
                (RData::A(address), RecordType::A) => address.0.into(),
                (RData::AAAA(address), RecordType::AAAA) => address.0.into(),
                _ => continue,
            };
            let is_asked = record.dns_class == DNSClass::IN && names.contains(&record.name.to_lowercase());
            if is_asked && found.len() < MOST_ADDRESSES && !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn reply(question: &Question, records: Vec<Record>) -> Message {
        let mut message = Message::from_vec(&question.bytes(true).unwrap()).unwrap();
        message.metadata.message_type = MessageType::Response;
        message.answers = records;
        message
    }

    fn a(owner: &str, last: u8) -> Record {
        Record::from_rdata(name(owner), 0, RData::A(A::new(192, 0, 2, last)))
    }

    fn cname(owner: &str, alias: &str) -> Record {
        Record::from_rdata(name(owner), 0, RData::CNAME(CNAME(name(alias))))
    }

    #[test]
    fn aliases_are_followed_and_strays_are_not_taken() {
        let question = Question::new("a.example", Family::V4, 7).unwrap();
        let records = vec![
            a("c.example.", 1),
            cname("b.example.", "c.example."),
            cname("A.example.", "b.example."),
            cname("c.example.", "a.example."),
            a("d.example.", 2),
            a("C.example.", 1),
        ];
        let bytes = reply(&question, records).to_vec().unwrap();
        assert_eq!(question.answer(&bytes), Some(Said::Addresses(vec!["192.0.2.1".parse().unwrap()])));
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let question = Question::new("a.example", Family::V4, 7).unwrap();
        let bytes = |other: &Question| reply(other, vec![]).to_vec().unwrap();
        assert!(question.answer(&bytes(&question)).is_some());
        for other in
            [("a.example", Family::V4, 8), ("b.example", Family::V4, 7), ("a.example", Family::V6, 7)]
        {
            let other = Question::new(other.0, other.1, other.2).unwrap();
            assert_eq!(question.answer(&bytes(&other)), None);
        }
        assert_eq!(question.answer(&question.bytes(true).unwrap()), None, "a question is no answer");
        assert_eq!(question.answer(b"\0"), None);
    }

    #[test]
    fn what_servers_say() {
        let question = Question::new("a.example", Family::V4, 7).unwrap();
        for (code, said) in [
            (ResponseCode::NXDomain, Said::NoName),
            (ResponseCode::ServFail, Said::Nothing),
            (ResponseCode::Refused, Said::Nothing),
            (ResponseCode::FormErr, Said::NotUnderstood),
        ] {
            let mut message = reply(&question, vec![]);
            message.metadata.response_code = code;
            assert_eq!(question.answer(&message.to_vec().unwrap()), Some(said));
        }
        let mut message = reply(&question, vec![a("a.example.", 1)]);
        message.metadata.truncation = true;
        assert_eq!(question.answer(&message.to_vec().unwrap()), Some(Said::Truncated));
        let many = (0..200).map(|last| a("a.example.", last)).collect();
        let Some(Said::Addresses(found)) = question.answer(&reply(&question, many).to_vec().unwrap()) else {
            panic!("addresses")
        };
        assert_eq!(found.len(), MOST_ADDRESSES);
    }
}
