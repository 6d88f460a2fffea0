//! Global requests in both directions, answered in order.
//!
//! Source: RFC 4254 section 4: replies carry no number, so their order is their address.

use std::collections::VecDeque;

use crate::error::Misbehaviour;

/// Requests of the peer that may wait for our answer. The API sends them one at a time (PROTOCOL.md 3.8);
/// the bound is against a peer that only asks.
const MAX_UNANSWERED: usize = 128;

/// A request of ours that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A request of the peer that waits for our reply. Must be used exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplyToken(u64);

/// The answer to a request: its body, or refusal.
pub type Reply = Result<Vec<u8>, Refused>;

/// REQUEST_FAILURE: it has no body and gives no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer refused the request")]
pub struct Refused;

/// Both queues.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    sent: VecDeque<RequestId>,
    next_sent: u64,
    received: VecDeque<Option<Reply>>,
    /// Number of the request at the front of `received`.
    front: u64,
}

impl Requests {
    /// Notes a request of ours that wants a reply.
    pub(crate) fn sent(&mut self) -> RequestId {
        let id = RequestId(self.next_sent);
        self.next_sent += 1;
        self.sent.push_back(id);
        id
    }

    /// Matches a reply to the oldest request. An answer to nothing is the peer's fault: it must not be
    /// stored, and must not block anything.
    pub(crate) fn replied(&mut self) -> Result<RequestId, Misbehaviour> {
        self.sent.pop_front().ok_or(Misbehaviour::UnexpectedReply)
    }

    /// Notes a request of the peer that wants a reply.
    pub(crate) fn received(&mut self) -> Result<ReplyToken, Misbehaviour> {
        if self.received.len() >= MAX_UNANSWERED {
            return Err(Misbehaviour::TooManyRequests);
        }
        let token = ReplyToken(self.front + self.received.len() as u64);
        self.received.push_back(None);
        Ok(token)
    }

    /// Stores the answer to a request.
    pub(crate) fn answer(&mut self, token: &ReplyToken, reply: Reply) {
        let index = token.0.checked_sub(self.front).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.received.get_mut(index)) {
            *slot = Some(reply);
        }
    }

    /// The next answer that may be sent.
    pub(crate) fn next_answer(&mut self) -> Option<Reply> {
        let reply = self.received.front_mut()?.take()?;
        self.received.pop_front();
        self.front += 1;
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_the_requests() {
        let mut requests = Requests::default();
        let first = requests.received().unwrap();
        let second = requests.received().unwrap();
        requests.answer(&second, Ok(vec![2]));
        assert_eq!(requests.next_answer(), None);
        requests.answer(&first, Err(Refused));
        assert_eq!(requests.next_answer(), Some(Err(Refused)));
        assert_eq!(requests.next_answer(), Some(Ok(vec![2])));
        assert_eq!(requests.next_answer(), None);
    }

    #[test]
    fn a_peer_that_only_asks_is_stopped() {
        let mut requests = Requests::default();
        for _ in 0..MAX_UNANSWERED {
            requests.received().unwrap();
        }
        assert_eq!(requests.received(), Err(Misbehaviour::TooManyRequests));
        assert_eq!(requests.replied(), Err(Misbehaviour::UnexpectedReply));
    }
}
