//! Channels and global requests: what the application asks, what the peer sends.
//!
//! Source: RFC 4254 sections 4 and 5; PROTOCOL.md 3.7 and 3.8.

use std::time::Instant;

use thiserror::Error;

use super::{Connection, Received};
use crate::ChannelId;
use crate::channel::{Channel, Incoming, MAX_DATA, Outgoing, Peer, Phase};
use crate::error::{Error, Misbehaviour};
use crate::event::Event;
use crate::messages::{self, Message, number};
use crate::requests::Refused;

/// RFC 4254 section 5.1.
const RESOURCE_SHORTAGE: u32 = 4;
/// Longest refusal text kept.
const MAX_DESCRIPTION: usize = 1024;

/// A channel to open.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOpen<'a> {
    /// Channel type, such as `direct-tcpip`.
    pub kind: &'a str,
    /// Type-specific data.
    pub payload: &'a [u8],
}

/// Why a channel could not even be asked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// Login is not complete.
    #[error("channels can be opened only after login")]
    NotAuthenticated,
    /// As many channels as the limit allows exist already.
    #[error("too many channels are open on this connection")]
    TooMany,
}

impl Connection {
    /// Asks the peer for a channel; the answer comes as an event.
    pub fn open_channel(&mut self, open: ChannelOpen<'_>) -> Result<ChannelId, OpenError> {
        if !self.authentication.is_done() {
            return Err(OpenError::NotAuthenticated);
        }
        let limits = self.side.limits();
        if self.channels.len() >= limits.channels {
            return Err(OpenError::TooMany);
        }
        let id = self.channels.insert(Channel::new(Phase::Opening)).ok_or(OpenError::TooMany)?;
        let window = self.channels.open_window(id.0);
        let message = messages::channel_open(open.kind.as_bytes(), id.0, window, MAX_DATA, open.payload);
        self.send(message);
        Ok(id)
    }

    /// Accepts a channel that the peer offered. Ignored when the channel is gone.
    pub fn accept_channel(&mut self, id: ChannelId) {
        let Some((peer, window)) = self.channels.accept(id.0) else { return };
        self.answer(messages::numbers(number::CHANNEL_OPEN_CONFIRMATION, &[peer, id.0, window, MAX_DATA]));
        self.channels.join_round(id.0);
    }

    /// Refuses a channel that the peer offered. Any reason code up to 2^32-1 may be used.
    pub fn reject_channel(&mut self, id: ChannelId, reason: u32, description: &str) {
        let Some(channel) = self.channels.get(id.0) else { return };
        let Phase::Offered(peer, _) = &channel.phase else { return };
        let message = messages::channel_open_failure(peer.id, reason, description.as_bytes());
        self.channels.remove(id.0);
        self.answer(message);
    }

    /// Queues data; returns how much was taken. Less than all: wait for [`Event::ChannelWritable`].
    pub fn write(&mut self, id: ChannelId, data: &[u8]) -> usize {
        let taken = self.channels.write(id.0, data);
        self.channels.join_round(id.0);
        taken
    }

    /// Reports received data as taken by the application, which lets the peer send more.
    pub fn consume(&mut self, id: ChannelId, bytes: usize) {
        self.channels.consume(id.0, bytes);
    }

    /// Ends our direction after what is queued (half-close).
    pub fn finish(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get(id.0) {
            channel.finish();
            self.channels.join_round(id.0);
        }
    }

    /// Closes the channel after what is queued. The caller must not use `id` again: the number is given to
    /// another channel once the peer has closed too.
    pub fn close(&mut self, id: ChannelId) {
        self.channels.release(id.0);
        if self.channels.get(id.0).is_some_and(|channel| channel.is_over()) {
            self.channels.remove(id.0);
        } else {
            self.channels.join_round(id.0);
        }
    }

    /// Closes the channel at once; queued data is lost.
    pub fn abort(&mut self, id: ChannelId) {
        self.channels.discard_queue(id.0);
        self.close(id);
    }

    pub(super) fn on_connection(
        &mut self,
        message: Message<'_>,
        now: Instant,
    ) -> Result<Option<Received>, Error> {
        match message {
            Message::ChannelData { recipient, data } => return self.on_data(recipient, data.len(), now),
            Message::ChannelExtendedData { recipient, data } => {
                // Nobody here reads a second stream: it counts against the window and is gone.
                if let Some((id, len)) = self.on_data(recipient, data.len(), now)? {
                    self.consume(id, len);
                }
            }
            Message::ChannelWindowAdjust { recipient, bytes } => self.on_adjust(recipient, bytes)?,
            Message::ChannelOpen { kind, sender, window, max_packet, payload } => {
                let peer = peer(sender, window, max_packet)?;
                self.on_open(peer, kind, payload);
            }
            Message::ChannelOpenConfirmation { recipient, sender, window, max_packet } => {
                self.on_confirmation(recipient, peer(sender, window, max_packet)?)?;
            }
            Message::ChannelOpenFailure { recipient, reason, description } => {
                self.on_open_failure(recipient, reason, description)?;
            }
            Message::ChannelEof(recipient) => self.on_eof(recipient)?,
            Message::ChannelClose(recipient) => self.on_close(recipient)?,
            Message::ChannelRequest { recipient, want_reply } => {
                self.on_channel_request(recipient, want_reply)?;
            }
            Message::GlobalRequest { name, want_reply, payload } => {
                let reply = if want_reply { Some(self.requests.received()?) } else { None };
                let (name, payload) = (name.to_vec(), payload.to_vec());
                self.events.push_back(Event::Request { name, payload, reply });
            }
            Message::RequestSuccess(body) => {
                let id = self.requests.replied()?;
                self.events.push_back(Event::Reply { id, reply: Ok(body.to_vec()) });
            }
            Message::RequestFailure => {
                let id = self.requests.replied()?;
                self.events.push_back(Event::Reply { id, reply: Err(Refused) });
            }
            Message::Ping(data) => self.answer(messages::pong(data)),
            // PONG answers a PING that is never sent; channel replies answer requests never made.
            _ => {}
        }
        Ok(None)
    }

    fn on_data(&mut self, recipient: u32, len: usize, now: Instant) -> Result<Option<Received>, Error> {
        let channel = self.open_channel_of(recipient)?;
        if channel.incoming != Incoming::Flowing {
            return Err(Error::Peer(Misbehaviour::DataAfterEnd));
        }
        // After our CLOSE the application is gone; the peer may not know yet. While CLOSE waits for what is
        // queued, the window opens again: the peer's own CLOSE may stand behind what it still has to send.
        let (outgoing, wanted) = (channel.outgoing, len > 0 && channel.outgoing < Outgoing::Closing);
        if len > MAX_DATA as usize || !self.channels.take(recipient, len, now) {
            return Err(Error::Peer(Misbehaviour::WindowOverrun));
        }
        if outgoing >= Outgoing::Closing {
            self.channels.consume(recipient, len);
        }
        Ok(wanted.then_some((ChannelId(recipient), len)))
    }

    fn on_adjust(&mut self, recipient: u32, bytes: u32) -> Result<(), Error> {
        let channel = self.open_channel_of(recipient)?;
        if let Some(peer) = channel.peer() {
            // RFC 4254 section 5.2: the window never exceeds 2^32 - 1.
            let window = peer.window.checked_add(bytes);
            peer.window = window.ok_or(Error::Peer(Misbehaviour::WindowOverflow))?;
        }
        if channel.may_go_on() {
            self.events.push_back(Event::ChannelWritable(ChannelId(recipient)));
        }
        self.channels.join_round(recipient);
        Ok(())
    }

    fn on_open(&mut self, peer: Peer, kind: &[u8], payload: &[u8]) {
        let limits = self.side.limits();
        let peer_id = peer.id;
        let bytes = kind.len().saturating_add(payload.len());
        let channel = Channel::new(Phase::Offered(peer, bytes));
        let has_room = self.channels.len() < limits.channels && self.channels.may_offer(bytes);
        let id = has_room.then(|| self.channels.insert(channel)).flatten();
        match id {
            Some(id) => {
                let (kind, payload) = (kind.to_vec(), payload.to_vec());
                self.events.push_back(Event::ChannelOffered { id, kind, payload });
            }
            None => self.answer(messages::channel_open_failure(peer_id, RESOURCE_SHORTAGE, b"")),
        }
    }

    fn on_confirmation(&mut self, recipient: u32, peer: Peer) -> Result<(), Error> {
        let channel = self.asked_channel_of(recipient)?;
        // The whole window counts, also where the reference's opener holds itself to its own size
        // (PROTOCOL.md 3.7): a peer that gives much adjusts late, and who stopped earlier would wait for ever.
        channel.phase = Phase::Open(peer);
        let abandoned = channel.outgoing >= Outgoing::Closing;
        self.channels.join_round(recipient);
        if !abandoned {
            self.events.push_back(Event::ChannelOpened(ChannelId(recipient)));
        }
        Ok(())
    }

    fn on_open_failure(&mut self, recipient: u32, reason: u32, description: &[u8]) -> Result<(), Error> {
        let channel = self.asked_channel_of(recipient)?;
        // The number stays taken until the application lets go of it, lest its next use meet another channel.
        channel.outgoing = Outgoing::Closed;
        if self.channels.close_incoming(recipient) {
            self.channels.remove(recipient);
        }
        let description = description.iter().copied().take(MAX_DESCRIPTION).collect();
        self.events.push_back(Event::ChannelRefused { id: ChannelId(recipient), reason, description });
        Ok(())
    }

    fn on_eof(&mut self, recipient: u32) -> Result<(), Error> {
        let channel = self.open_channel_of(recipient)?;
        if channel.incoming != Incoming::Flowing {
            return Err(Error::Peer(Misbehaviour::DataAfterEnd));
        }
        self.channels.finish_incoming(recipient);
        self.events.push_back(Event::ChannelFinished(ChannelId(recipient)));
        Ok(())
    }

    fn on_close(&mut self, recipient: u32) -> Result<(), Error> {
        let channel = self.open_channel_of(recipient)?;
        if channel.incoming == Incoming::Closed {
            return Err(Error::Peer(Misbehaviour::DataAfterEnd));
        }
        // The peer reads nothing any more: what is queued is lost, and CLOSE is due from us too.
        channel.close();
        self.channels.discard_queue(recipient);
        let over = self.channels.close_incoming(recipient);
        self.events.push_back(Event::ChannelClosed(ChannelId(recipient)));
        if over {
            self.channels.remove(recipient);
        } else {
            self.channels.join_round(recipient);
        }
        Ok(())
    }

    /// PROTOCOL.md 3.7: channel requests are refused, whatever they ask.
    fn on_channel_request(&mut self, recipient: u32, want_reply: bool) -> Result<(), Error> {
        let channel = self.open_channel_of(recipient)?;
        let closing = channel.outgoing == Outgoing::Closed;
        if let Some(peer) = channel.peer()
            && want_reply
            && !closing
        {
            let message = messages::numbers(number::CHANNEL_FAILURE, &[peer.id]);
            self.answer(message);
        }
        Ok(())
    }

    /// A channel that we asked for and the peer has not answered: a second answer is none, and neither is one to a
    /// question that still waits here for the end of a key exchange.
    fn asked_channel_of(&mut self, id: u32) -> Result<&mut Channel, Error> {
        let asks = |message: &Vec<u8>| {
            let decoded = messages::decode(message);
            matches!(decoded, Ok(Some(Message::ChannelOpen { sender, .. })) if sender == id)
        };
        if self.held.iter().any(asks) {
            return Err(Error::Peer(Misbehaviour::UnexpectedReply));
        }
        let channel = self.channels.get(id).ok_or(Error::Peer(Misbehaviour::UnknownChannel))?;
        let unanswered = matches!(channel.phase, Phase::Opening) && channel.incoming == Incoming::Flowing;
        if unanswered { Ok(channel) } else { Err(Error::Peer(Misbehaviour::UnexpectedReply)) }
    }

    /// A channel that both sides agreed on: only for such may data and ends arrive.
    fn open_channel_of(&mut self, id: u32) -> Result<&mut Channel, Error> {
        match self.channels.get(id) {
            Some(channel) if matches!(channel.phase, Phase::Open(_)) => Ok(channel),
            Some(_) | None => Err(Error::Peer(Misbehaviour::UnknownChannel)),
        }
    }
}

/// Least that a peer must accept at once. The reference asks for the same: a packet limit below a message's head
/// means nothing, and one of zero could never be served and would hold its channel for ever.
const LEAST_PACKET: u32 = 9;

fn peer(id: u32, window: u32, max_packet: u32) -> Result<Peer, Error> {
    if max_packet < LEAST_PACKET {
        return Err(Error::Peer(Misbehaviour::PacketLimit));
    }
    Ok(Peer { id, window, max_data: max_packet.min(MAX_DATA) })
}
