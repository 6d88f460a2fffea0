//! What is sent, and in which order: the opening, key exchange and control messages, window adjusts, then
//! the channels in turn.
//!
//! Channel data is sealed only when the driver can write, so a control message never stands behind more
//! than one batch, and a change of keys finds the data still unsealed.

use std::time::Instant;

use super::Connection;
use crate::ChannelId;
use crate::channel::{Channels, Outgoing};
use crate::event::Event;
use crate::messages::{self, number};
use crate::outbound::Outbound;

/// Packets after which keys are changed whatever the cipher. PROTOCOL.md 3.4; RFC 4344 section 3.1.
const REKEY_PACKETS: u64 = 1 << 31;

impl Connection {
    /// Appends what can be sent now to `out`, up to about `budget` bytes. What one call appends is meant
    /// for one write. False: nothing to send.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, budget: usize, now: Instant) -> bool {
        let start = out.len();
        if self.opening.transmit(out, now) {
            return out.len() > start;
        }
        self.release_held();
        out.append(&mut self.outbound.ready);
        if self.outbound.ready.capacity() > 4096 {
            self.outbound.ready = Vec::new();
        }
        if !self.exchange.blocks_sending() {
            self.transmit_channels(out, budget);
            self.rekey_if_due();
            out.append(&mut self.outbound.ready);
        }
        out.len() > start
    }

    /// Messages that waited for a key exchange go out when it is over.
    pub(super) fn release_held(&mut self) {
        if self.exchange.blocks_sending() {
            return;
        }
        while let Some(payload) = self.held.pop_front() {
            self.outbound.message(&payload);
        }
        self.held_bytes = 0;
    }

    fn transmit_channels(&mut self, out: &mut Vec<u8>, budget: usize) {
        while let Some((recipient, bytes)) = self.channels.next_adjust() {
            self.outbound.message(&messages::numbers(number::CHANNEL_WINDOW_ADJUST, &[recipient, bytes]));
        }
        out.append(&mut self.outbound.ready);
        while out.len() < budget {
            let Some(id) = self.channels.next_turn() else { break };
            if let Some(event) = take_turn(&mut self.channels, &mut self.outbound, out, id) {
                self.events.push_back(event);
            }
            out.append(&mut self.outbound.ready);
            self.channels.join_round(id);
        }
    }

    /// True when [`Self::poll_transmit`] would append something.
    pub fn wants_to_send(&self) -> bool {
        !self.outbound.ready.is_empty()
            || self.opening.has_output()
            || (!self.exchange.blocks_sending() && (self.channels.wants_to_send() || !self.held.is_empty()))
    }

    /// Starts a key exchange when one is due. RFC 4253 section 9.
    pub(super) fn rekey_if_due(&mut self) {
        let Some(limit) = self.exchange.rekey_limit() else { return };
        let limit = self.side.limits().rekey_bytes.unwrap_or(limit);
        let due = |(bytes, packets): (u64, u64)| bytes >= limit || packets >= REKEY_PACKETS;
        if due(self.outbound.since_keys()) || due(self.inbound.since_keys()) {
            self.start_exchange();
        }
    }
}

/// One channel's turn: one packet of data, or its end.
fn take_turn(channels: &mut Channels, outbound: &mut Outbound, out: &mut Vec<u8>, id: u32) -> Option<Event> {
    let channel = channels.get(id)?;
    let sendable = channel.sendable();
    let peer_id = channel.peer()?.id;
    if sendable > 0 {
        let (head, tail) = channel.queue.as_slices();
        let first = head.len().min(sendable);
        let parts = [head.get(..first)?, tail.get(..sendable - first)?];
        outbound.channel_data(out, peer_id, parts);
        channel.queue.drain(..sendable);
        if let Some(peer) = channel.peer() {
            peer.window = peer.window.saturating_sub(u32::try_from(sendable).unwrap_or(u32::MAX));
        }
        return channel.room_returned().then_some(Event::ChannelWritable(ChannelId(id)));
    }
    match channel.outgoing {
        Outgoing::Finishing => {
            outbound.message(&messages::numbers(number::CHANNEL_EOF, &[peer_id]));
            channel.outgoing = Outgoing::Finished;
        }
        Outgoing::Closing => {
            outbound.message(&messages::numbers(number::CHANNEL_CLOSE, &[peer_id]));
            channel.outgoing = Outgoing::Closed;
            if channel.is_over() {
                channels.remove(id);
            }
        }
        Outgoing::Flowing | Outgoing::Finished | Outgoing::Closed => {}
    }
    None
}
