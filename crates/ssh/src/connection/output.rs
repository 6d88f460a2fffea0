//! What is sent, and in which order: the opening, key exchange and control messages, window adjusts, then
//! the channels in turn.
//!
//! Channel data is sealed only while less than a batch waits to be written, so a control message never
//! stands behind more than that, and a change of keys finds the data still unsealed.

use std::time::Instant;

use super::Connection;
use crate::ChannelId;
use crate::channel::{Channels, Outgoing};
use crate::event::Event;
use crate::messages::{self, number};
use crate::outbound::Outbound;

/// Packets after which keys are changed whatever the cipher. PROTOCOL.md 3.4; RFC 4344 section 3.1.
const REKEY_PACKETS: u64 = 1 << 31;

/// Sealed bytes that may wait to be written before channels have to wait too.
pub const BATCH: usize = 256 * 1024;

impl Connection {
    /// Seals what can be sent now, until about a batch waits. Call before [`Self::output`].
    pub fn prepare_output(&mut self, now: Instant) {
        self.opening.release(now);
        self.release_held();
        if !self.exchange.blocks_sending() {
            self.seal_channels(now);
            self.rekey_if_due();
        }
    }

    /// Bytes to write, in one write if possible. Empty: nothing to send, or nothing yet.
    pub fn output(&self) -> &[u8] {
        self.opening.output().unwrap_or_else(|| self.outbound.ready.pending())
    }

    /// Reports that the first `bytes` of [`Self::output`] were written.
    pub fn advance_output(&mut self, bytes: usize, now: Instant) {
        if !self.opening.advance(bytes, now) {
            self.outbound.ready.advance(bytes);
            self.owed = self.owed.min(self.outbound.ready.len() + self.held_bytes);
        }
        if self.outbound.ready.len() < BATCH / 2 {
            self.wake_waiting();
        }
    }

    /// Appends what can be sent now to `out`: for drivers that keep their own buffer. What one call appends
    /// is meant for one write. False: nothing to send.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, now: Instant) -> bool {
        self.prepare_output(now);
        let bytes = self.output().len();
        out.extend_from_slice(self.output());
        self.advance_output(bytes, now);
        bytes > 0
    }

    /// Lends storage for output; gives back what is not needed. See [`Self::reclaim_storage`].
    pub fn lend_storage(&mut self, storage: Vec<u8>) -> Vec<u8> {
        self.outbound.ready.lend(storage)
    }

    /// Gives lent storage back once nothing waits in it.
    pub fn reclaim_storage(&mut self) -> Option<Vec<u8>> {
        self.outbound.ready.reclaim()
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

    fn seal_channels(&mut self, now: Instant) {
        // Adjusts that wait merge, so that a peer which reads nothing cannot make them pile up.
        while self.outbound.ready.len() < BATCH
            && let Some((recipient, bytes)) = self.channels.next_adjust(now)
        {
            self.outbound.message(&messages::numbers(number::CHANNEL_WINDOW_ADJUST, &[recipient, bytes]));
        }
        while self.outbound.ready.len() < BATCH {
            let Some(id) = self.channels.next_turn() else { break };
            if let Some(event) = take_turn(&mut self.channels, &mut self.outbound, id) {
                self.events.push_back(event);
            }
            self.channels.join_round(id);
        }
    }

    /// True when [`Self::prepare_output`] would find something to send.
    pub fn wants_to_send(&self) -> bool {
        !self.outbound.ready.is_empty()
            || self.opening.output().is_some()
            || (!self.exchange.blocks_sending() && (self.channels.wants_to_send() || !self.held.is_empty()))
    }

    /// Lets `read` fill channel data straight into packets, where no copy is needed and nobody else waits.
    ///
    /// `read` gets slots to fill in order and returns the number of bytes filled. `None`: not now; an event
    /// [`Event::ChannelWritable`] tells when to try again.
    pub fn write_from(
        &mut self,
        id: ChannelId,
        read: impl FnOnce(&mut [&mut [u8]]) -> usize,
    ) -> Option<usize> {
        let free = !self.exchange.blocks_sending() && self.held.is_empty() && !self.channels.wants_to_send();
        let room = BATCH.saturating_sub(self.outbound.ready.len());
        let channel = self.channels.get(id.0)?;
        let most = channel.direct_room().min(room);
        if !free || most == 0 {
            self.channels.wait_for_room(id.0);
            return None;
        }
        let recipient = channel.peer()?.id;
        let filled = self.outbound.channel_data_from(recipient, most, read);
        channel.sent(filled);
        self.rekey_if_due();
        Some(filled)
    }

    /// Tells channels that waited for room that there is some again, in the order in which they came.
    fn wake_waiting(&mut self) {
        while let Some(id) = self.channels.next_waiting() {
            self.events.push_back(Event::ChannelWritable(ChannelId(id)));
        }
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
fn take_turn(channels: &mut Channels, outbound: &mut Outbound, id: u32) -> Option<Event> {
    let channel = channels.get(id)?;
    let peer_id = channel.peer()?.id;
    if channel.sendable() > 0 {
        channels.send_queued(id, |peer, parts| outbound.channel_data(peer, parts));
        return channels.get(id)?.room_returned().then_some(Event::ChannelWritable(ChannelId(id)));
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
