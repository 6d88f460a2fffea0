//! One SSH channel: its windows, its send queue, and how each direction ends.
//!
//! Pure bookkeeping; packets are made and read in [`crate::connection`]. Received data is not stored here:
//! it is handed out as it is decrypted, and the window opens again only when the application reports it
//! consumed, so an application that stops reading stops its peer and nobody else.
//!
//! Source: RFC 4254 section 5; PROTOCOL.md 3.7.

use std::collections::VecDeque;
use std::time::Instant;

use crate::config::Limits;
use crate::credit::Credit;
use crate::receive_window::{Bounds, ReceiveWindow, RoundTrip};

/// Largest CHANNEL_DATA body sent or accepted. PROTOCOL.md 3.7: the reference's limit; larger gains nothing.
pub(crate) const MAX_DATA: u32 = 32 * 1024;

/// Bytes an application may have queued on one channel before it has to wait.
pub(crate) const SEND_QUEUE: usize = 128 * 1024;

/// What applications may have queued on all channels of a connection before each gets only its least.
const ALL_SEND_QUEUES: usize = 512 * 1024;

/// What offers that applications have not answered may take together: an open may be as long as a packet, and may
/// carry a flow's first bytes. More than the server keeps of those, so that it can say why it refuses.
const ALL_OFFERS: usize = 384 * 1024;

/// Divided by the number of channels, what each may queue whatever the others have.
const LEAST_QUEUES: usize = 64 * 1024;

/// One of our channels, by the number that the peer uses for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(crate) u32);

/// What the far end told us about itself when the channel was set up.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: u32,
    /// Bytes it still accepts.
    pub(crate) window: u32,
    /// Largest data it accepts at once, already limited to [`MAX_DATA`] and never zero.
    pub(crate) max_data: u32,
}

/// How far a channel has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// We asked; the peer has not answered.
    Opening,
    /// The peer asked, in so many bytes; the application has not answered.
    Offered(Peer, usize),
    /// Both agreed.
    Open(Peer),
}

/// How our direction ends. Each state follows the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outgoing {
    Flowing,
    /// EOF follows the queue.
    Finishing,
    /// EOF was sent.
    Finished,
    /// CLOSE follows the queue.
    Closing,
    /// CLOSE was sent.
    Closed,
}

/// How the peer's direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Incoming {
    Flowing,
    Finished,
    Closed,
}

/// What the application does with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    /// It refers to the channel, so the number must not be given to another.
    Attached,
    /// It was refused room and waits for an event.
    Waiting,
    /// It has let go.
    Gone,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) phase: Phase,
    pub(crate) receive: ReceiveWindow,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) queue: VecDeque<u8>,
    application: Application,
    /// The channel stands in the round of senders.
    in_round: bool,
    /// The channel stands in the queue of adjusts.
    in_adjusts: bool,
}

impl Channel {
    /// A channel whose peer may send nothing yet.
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            receive: ReceiveWindow::default(),
            outgoing: Outgoing::Flowing,
            incoming: Incoming::Flowing,
            queue: VecDeque::new(),
            application: Application::Attached,
            in_round: false,
            in_adjusts: false,
        }
    }

    /// The far end, once the channel is open.
    pub(crate) fn peer(&mut self) -> Option<&mut Peer> {
        match &mut self.phase {
            Phase::Open(peer) => Some(peer),
            Phase::Opening | Phase::Offered(..) => None,
        }
    }

    /// What the peer can make us hold, of what we count: nothing once the application has let go, because
    /// what comes then is dropped.
    fn claim(&self) -> u32 {
        match (self.application, self.incoming) {
            (Application::Gone, _) => 0,
            (_, Incoming::Flowing) => self.receive.held().saturating_add(self.receive.open()),
            (_, Incoming::Finished | Incoming::Closed) => self.receive.held(),
        }
    }

    /// Bytes of an offer that the application has not answered.
    fn offered(&self) -> usize {
        if let Phase::Offered(_, bytes) = self.phase { bytes } else { 0 }
    }

    /// Queues as much of `data` as fits into a queue of `most` bytes.
    fn write(&mut self, data: &[u8], most: usize) -> usize {
        if self.outgoing != Outgoing::Flowing {
            return 0;
        }
        let room = most.saturating_sub(self.queue.len());
        let taken = room.min(data.len());
        self.queue.extend(&data[..taken]);
        if taken < data.len() {
            self.application = Application::Waiting;
        }
        taken
    }

    /// True once, when an application that was refused room should try again.
    pub(crate) fn room_returned(&mut self) -> bool {
        let returned = self.application == Application::Waiting && self.queue.len() <= SEND_QUEUE / 2;
        if returned {
            self.application = Application::Attached;
        }
        if self.queue.is_empty() {
            // An idle channel holds no buffer.
            self.queue = VecDeque::new();
        }
        returned
    }

    /// True once, for an application that was refused room because of the window or a full batch, when that is
    /// over.
    pub(crate) fn may_go_on(&mut self) -> bool {
        let may = self.application == Application::Waiting && self.queue.is_empty() && self.direct_room() > 0;
        if may {
            self.application = Application::Attached;
        }
        may
    }

    /// Bytes that could go out now.
    pub(crate) fn sendable(&self) -> usize {
        match (&self.phase, self.outgoing) {
            (Phase::Open(peer), Outgoing::Flowing | Outgoing::Finishing | Outgoing::Closing) => {
                self.queue.len().min(peer.window as usize).min(peer.max_data as usize)
            }
            (Phase::Opening | Phase::Offered(..) | Phase::Open(_), _) => 0,
        }
    }

    /// Bytes that could be read straight into packets now.
    pub(crate) fn direct_room(&self) -> usize {
        match (&self.phase, self.outgoing) {
            (Phase::Open(peer), Outgoing::Flowing) if peer.max_data == MAX_DATA => peer.window as usize,
            // A peer with smaller packets is served through the queue.
            (Phase::Open(peer), Outgoing::Flowing) => peer.window.min(peer.max_data) as usize,
            (Phase::Opening | Phase::Offered(..) | Phase::Open(_), _) => 0,
        }
    }

    /// Notes bytes that were sealed.
    pub(crate) fn sent(&mut self, bytes: usize) {
        if let Some(peer) = self.peer() {
            peer.window = peer.window.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// True when the channel has something to do in the round of senders: data, or an end that is due.
    pub(crate) fn has_turn(&self) -> bool {
        let end_due =
            self.queue.is_empty() && matches!(self.outgoing, Outgoing::Finishing | Outgoing::Closing);
        matches!(self.phase, Phase::Open(_)) && (self.sendable() > 0 || end_due)
    }

    /// True when an adjust is due and the peer can still use it.
    fn is_adjust_due(&self) -> bool {
        self.receive.is_due()
            && self.incoming == Incoming::Flowing
            && self.outgoing < Outgoing::Closed
            && matches!(self.phase, Phase::Open(_))
    }

    /// Asks for EOF after what is queued.
    pub(crate) fn finish(&mut self) {
        self.outgoing = self.outgoing.max(Outgoing::Finishing);
    }

    /// The application lets go: CLOSE follows what is queued, and what comes meanwhile is dropped.
    fn release(&mut self) {
        self.application = Application::Gone;
        self.close();
    }

    /// Asks for CLOSE after what is queued.
    pub(crate) fn close(&mut self) {
        self.outgoing = self.outgoing.max(Outgoing::Closing);
    }

    /// The number may be used again: CLOSE went both ways, and the application has let go.
    ///
    /// Freeing earlier kills the connection on a slow path: data still under way would be for an unknown
    /// channel. RFC 4254 section 5.3.
    pub(crate) fn is_over(&self) -> bool {
        self.outgoing == Outgoing::Closed
            && self.incoming == Incoming::Closed
            && self.application == Application::Gone
    }
}

/// All channels of a connection, by our number, with the round of senders.
#[derive(Debug)]
pub(crate) struct Channels {
    slots: Vec<Option<Channel>>,
    free: Vec<u32>,
    round: VecDeque<u32>,
    adjusts: VecDeque<u32>,
    /// Channels that wait for room, in the order in which they came.
    waiting: VecDeque<u32>,
    open: usize,
    /// Bytes in the send queues.
    queued: usize,
    /// Bytes in offers that wait for an answer.
    offered: usize,
    window: u32,
    largest_window: u32,
    pub(crate) credit: Credit,
    pub(crate) round_trip: RoundTrip,
}

impl Channels {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            round: VecDeque::new(),
            adjusts: VecDeque::new(),
            waiting: VecDeque::new(),
            open: 0,
            queued: 0,
            offered: 0,
            window: limits.window,
            largest_window: limits.largest_window,
            credit: Credit::new(limits.window),
            round_trip: RoundTrip::default(),
        }
    }

    /// Channels that hold a number.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// True when the application may be asked for another channel, in so many bytes.
    pub(crate) fn may_offer(&self, bytes: usize) -> bool {
        self.offered.saturating_add(bytes) <= ALL_OFFERS
    }

    /// Gives `channel` a number; the caller has checked the limit.
    pub(crate) fn insert(&mut self, channel: Channel) -> Option<ChannelId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                id
            }
        };
        self.offered += channel.offered();
        *self.slots.get_mut(id as usize)? = Some(channel);
        self.open += 1;
        Some(ChannelId(id))
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Channel> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// Changes a channel and keeps the sums right that its windows and queue are part of.
    fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let channel = self.slots.get_mut(id as usize)?.as_mut()?;
        let (claim, queued, offered) = (channel.claim(), channel.queue.len(), channel.offered());
        let result = change(channel);
        self.credit.changed(claim, channel.claim());
        self.offered = (self.offered + channel.offered()).saturating_sub(offered);
        self.queued = (self.queued + channel.queue.len()).saturating_sub(queued);
        Some(result)
    }

    /// Frees a number.
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(channel) = self.slots.get_mut(id as usize).and_then(Option::take) {
            self.credit.changed(channel.claim(), 0);
            self.queued = self.queued.saturating_sub(channel.queue.len());
            self.offered = self.offered.saturating_sub(channel.offered());
            self.free.push(id);
            self.open -= 1;
            self.shrink();
        }
    }

    /// Gives back the room of channels that were many once.
    fn shrink(&mut self) {
        const SMALL: usize = 64;
        if self.slots.len() <= SMALL || self.slots.len() / 4 < self.open {
            return;
        }
        let end = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if end <= self.slots.len() / 2 {
            self.slots.truncate(end);
            self.free.retain(|id| (*id as usize) < end);
            self.slots.shrink_to_fit();
            self.free.shrink_to_fit();
            self.round.shrink_to_fit();
            self.adjusts.shrink_to_fit();
            self.waiting.shrink_to_fit();
        }
    }

    /// The application accepts a channel: the peer's number for it, and what to promise.
    pub(crate) fn accept(&mut self, id: u32) -> Option<(u32, u32)> {
        let peer = self.change(id, |channel| {
            let Phase::Offered(Peer { id, window, max_data }, _) = channel.phase else { return None };
            channel.phase = Phase::Open(Peer { id, window, max_data });
            Some(id)
        })??;
        Some((peer, self.open_window(id)))
    }

    /// Opens a channel's receive window for the first time; returns what to promise.
    pub(crate) fn open_window(&mut self, id: u32) -> u32 {
        let open = self.credit.grant(0, self.window, self.open);
        let window = ReceiveWindow::new(self.window, open);
        self.change(id, |channel| channel.receive = window).map_or(0, |()| open)
    }

    /// Takes received data of a channel that is open; false when the peer overran its window.
    pub(crate) fn take(&mut self, id: u32, bytes: usize, now: Instant) -> bool {
        let mut measured = None;
        let Some(channel) = self.get(id) else { return false };
        let within = channel.receive.take(bytes, now, |sample| measured = Some(sample));
        if let Some(sample) = measured {
            self.round_trip.measured(sample);
        }
        within
    }

    /// The application has taken received bytes, or they were dropped.
    pub(crate) fn consume(&mut self, id: u32, bytes: usize) {
        let consumed = self.change(id, |channel| {
            // What is dropped earns nothing.
            let earns = channel.application != Application::Gone;
            let taken = channel.receive.consume(bytes);
            if earns { taken } else { 0 }
        });
        self.credit.earn(u64::from(consumed.unwrap_or(0)));
        self.adjust_if_due(id);
    }

    /// The application lets go of a channel.
    ///
    /// While something is queued to be sent, credit goes on to be given: two sides that let go at once would
    /// otherwise wait for each other's window for ever.
    pub(crate) fn release(&mut self, id: u32) {
        let queued = self.change(id, |channel| {
            channel.release();
            channel.receive.consume(usize::MAX);
            !channel.queue.is_empty()
        });
        if queued == Some(true) {
            self.adjust_if_due(id);
        }
    }

    /// The peer sends no more data.
    pub(crate) fn finish_incoming(&mut self, id: u32) {
        self.change(id, |channel| channel.incoming = Incoming::Finished);
    }

    /// The peer has closed, or refused; true when the channel is over.
    pub(crate) fn close_incoming(&mut self, id: u32) -> bool {
        self.change(id, |channel| {
            channel.incoming = Incoming::Closed;
            channel.is_over()
        })
        .unwrap_or(false)
    }

    /// Drops what is queued to be sent.
    pub(crate) fn discard_queue(&mut self, id: u32) {
        self.change(id, |channel| channel.queue = VecDeque::new());
    }

    /// Queues as much of `data` as there is room for.
    pub(crate) fn write(&mut self, id: u32, data: &[u8]) -> usize {
        let least = LEAST_QUEUES / self.open.max(1);
        let left = ALL_SEND_QUEUES.saturating_sub(self.queued);
        self.change(id, |channel| {
            let queued = channel.queue.len();
            let share = queued + left.saturating_sub(queued) / 2;
            channel.write(data, share.max(least).clamp(1, SEND_QUEUE))
        })
        .unwrap_or(0)
    }

    /// Takes from a channel's queue what `send` makes of its first bytes, in two parts; those were sent.
    pub(crate) fn send_queued(&mut self, id: u32, send: impl FnOnce(u32, [&[u8]; 2])) {
        self.change(id, |channel| {
            let sendable = channel.sendable();
            let (head, tail) = channel.queue.as_slices();
            let (head, rest) = head.split_at(head.len().min(sendable));
            debug_assert!(rest.is_empty() || head.len() == sendable);
            let tail = tail.get(..sendable - head.len()).unwrap_or_default();
            if let Phase::Open(peer) = &channel.phase {
                send(peer.id, [head, tail]);
            }
            channel.queue.drain(..sendable);
            channel.sent(sendable);
        });
    }

    /// Puts a channel at the end of the round when it has something to send.
    pub(crate) fn join_round(&mut self, id: u32) {
        if let Some(channel) = self.slots.get_mut(id as usize).and_then(Option::as_mut)
            && !channel.in_round
            && channel.has_turn()
        {
            channel.in_round = true;
            self.round.push_back(id);
        }
    }

    /// The next channel whose turn it is.
    pub(crate) fn next_turn(&mut self) -> Option<u32> {
        while let Some(id) = self.round.pop_front() {
            if let Some(channel) = self.get(id) {
                channel.in_round = false;
                if channel.has_turn() {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Remembers that a window adjust is due, once.
    fn adjust_if_due(&mut self, id: u32) {
        if let Some(channel) = self.get(id)
            && !channel.in_adjusts
            && channel.is_adjust_due()
        {
            channel.in_adjusts = true;
            self.adjusts.push_back(id);
        }
    }

    /// The next window adjust to send: the peer's number for the channel, and the bytes.
    pub(crate) fn next_adjust(&mut self, now: Instant) -> Option<(u32, u32)> {
        while let Some(id) = self.adjusts.pop_front() {
            if let Some(adjust) = self.adjust(id, now) {
                return Some(adjust);
            }
        }
        None
    }

    fn adjust(&mut self, id: u32, now: Instant) -> Option<(u32, u32)> {
        let largest = if self.credit.is_strained() { self.window } else { self.largest_window };
        let bounds = Bounds { first: self.window, largest, round_trip: self.round_trip.get() };
        let channel = self.slots.get_mut(id as usize)?.as_mut()?;
        channel.in_adjusts = false;
        if !channel.is_adjust_due() {
            return None;
        }
        let (claim, wanted) = channel.receive.wanted(now, bounds);
        // What a channel is sent that nobody reads any more is dropped, and costs no memory.
        let counts = channel.application != Application::Gone;
        let granted = if counts { self.credit.grant(claim, wanted, self.open) } else { wanted };
        let peer = self.change(id, |channel| {
            channel.receive.give(granted, now);
            channel.peer().map(|peer| peer.id)
        })??;
        (granted > 0).then_some((peer, granted))
    }

    /// Remembers that a channel waits for room, once.
    pub(crate) fn wait_for_room(&mut self, id: u32) {
        if let Some(channel) = self.get(id)
            && channel.application == Application::Attached
        {
            channel.application = Application::Waiting;
            self.waiting.push_back(id);
        }
    }

    /// The next channel that waited and may go on. One whose peer accepts nothing is passed over: the peer's
    /// adjust will call it.
    pub(crate) fn next_waiting(&mut self) -> Option<u32> {
        while let Some(id) = self.waiting.pop_front() {
            if let Some(channel) = self.get(id)
                && channel.may_go_on()
            {
                return Some(id);
            }
        }
        None
    }

    /// True when something waits to be sent.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.round.is_empty() || !self.adjusts.is_empty()
    }
}

#[cfg(test)]
mod tests;
