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
use crate::receive_window::{ReceiveWindow, RoundTrip};

/// Largest CHANNEL_DATA body sent or accepted. PROTOCOL.md 3.7: the reference's limit; larger gains nothing.
pub(crate) const MAX_DATA: u32 = 32 * 1024;

/// Bytes an application may have queued on one channel before it has to wait.
pub(crate) const SEND_QUEUE: usize = 128 * 1024;

/// Bytes by which the windows of one connection may grow together. A peer chooses the round trip that is measured and,
/// through what it opens channels to, how fast they are read: without a bound for all it could make each as
/// large as one may be, and then have nobody read.
const MAX_GROWTH: u32 = 64 << 20;

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
    /// The peer asked; the application has not answered.
    Offered(Peer),
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
}

impl Channel {
    pub(crate) fn new(phase: Phase, limits: &Limits) -> Self {
        Self {
            phase,
            receive: ReceiveWindow::new(limits.window, limits.largest_window),
            outgoing: Outgoing::Flowing,
            incoming: Incoming::Flowing,
            queue: VecDeque::new(),
            application: Application::Attached,
            in_round: false,
        }
    }

    /// The far end, once the channel is open.
    pub(crate) fn peer(&mut self) -> Option<&mut Peer> {
        match &mut self.phase {
            Phase::Open(peer) => Some(peer),
            Phase::Opening | Phase::Offered(_) => None,
        }
    }

    /// Queues as much of `data` as there is room for.
    pub(crate) fn write(&mut self, data: &[u8]) -> usize {
        if self.outgoing != Outgoing::Flowing {
            return 0;
        }
        let room = SEND_QUEUE.saturating_sub(self.queue.len());
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
            (Phase::Opening | Phase::Offered(_) | Phase::Open(_), _) => 0,
        }
    }

    /// Bytes that could be read straight into packets now.
    pub(crate) fn direct_room(&self) -> usize {
        match (&self.phase, self.outgoing) {
            (Phase::Open(peer), Outgoing::Flowing) if peer.max_data == MAX_DATA => peer.window as usize,
            // A peer with smaller packets is served through the queue.
            (Phase::Open(peer), Outgoing::Flowing) => peer.window.min(peer.max_data) as usize,
            (Phase::Opening | Phase::Offered(_) | Phase::Open(_), _) => 0,
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

    /// Notes consumed bytes; true when an adjust is due and the peer can still use it.
    pub(crate) fn consume(&mut self, bytes: usize) -> bool {
        self.receive.consume(bytes)
            && self.incoming == Incoming::Flowing
            && self.outgoing < Outgoing::Closed
            && matches!(self.phase, Phase::Open(_))
    }

    /// Asks for EOF after what is queued.
    pub(crate) fn finish(&mut self) {
        self.outgoing = self.outgoing.max(Outgoing::Finishing);
    }

    /// The application lets go: CLOSE follows what is queued. True when an adjust is due: while something is
    /// queued, the peer must be able to get rid of what it has queued itself, or two sides that let go at
    /// once would wait for each other's window for ever.
    pub(crate) fn release(&mut self) -> bool {
        self.application = Application::Gone;
        self.close();
        !self.queue.is_empty() && self.consume(usize::MAX)
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
#[derive(Debug, Default)]
pub(crate) struct Channels {
    slots: Vec<Option<Channel>>,
    free: Vec<u32>,
    round: VecDeque<u32>,
    adjusts: VecDeque<u32>,
    /// Channels that wait for room, in the order in which they came.
    waiting: VecDeque<u32>,
    open: usize,
    /// What windows have grown by.
    growth: u32,
    pub(crate) round_trip: RoundTrip,
}

impl Channels {
    /// Channels that hold a number.
    pub(crate) fn len(&self) -> usize {
        self.open
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
        *self.slots.get_mut(id as usize)? = Some(channel);
        self.open += 1;
        Some(ChannelId(id))
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Channel> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// Frees a number.
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(channel) = self.slots.get_mut(id as usize).and_then(Option::take) {
            self.growth = self.growth.saturating_sub(channel.receive.growth());
            self.free.push(id);
            self.open -= 1;
        }
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

    /// Remembers that a window adjust is due.
    pub(crate) fn adjust_due(&mut self, id: u32) {
        self.adjusts.push_back(id);
    }

    /// The next window adjust to send: the peer's number for the channel, and the bytes.
    pub(crate) fn next_adjust(&mut self, now: Instant) -> Option<(u32, u32)> {
        let round_trip = self.round_trip.get();
        while let Some(id) = self.adjusts.pop_front() {
            let room = MAX_GROWTH.saturating_sub(self.growth);
            let Some(channel) = self.get(id) else { continue };
            let before = channel.receive.growth();
            let announced = channel.receive.announce(now, round_trip, room);
            let grown = channel.receive.growth().saturating_sub(before);
            let peer = channel.peer().map(|peer| peer.id);
            self.growth = self.growth.saturating_add(grown);
            if let (Some(peer), Some(bytes)) = (peer, announced) {
                return Some((peer, bytes));
            }
        }
        None
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
mod tests {
    use super::*;

    fn open_channel(window: u32) -> Channel {
        Channel::new(Phase::Open(Peer { id: 9, window, max_data: MAX_DATA }), &Limits::default())
    }

    #[test]
    fn senders_take_turns() {
        let mut channels = Channels::default();
        let first = channels.insert(open_channel(u32::MAX)).unwrap().0;
        let second = channels.insert(open_channel(u32::MAX)).unwrap().0;
        for id in [first, second] {
            channels.get(id).unwrap().write(&[1; 100_000]);
            channels.join_round(id);
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            let id = channels.next_turn().unwrap();
            order.push(id);
            channels.join_round(id);
        }
        assert_eq!(order, [first, second, first, second]);
    }

    /// A peer that answers late and whose destinations read fast until all windows are large.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
    fn windows_grow_within_one_bound_for_all() {
        let mut channels = Channels::default();
        let mut now = Instant::now();
        let ids: Vec<u32> = (0..20).map(|_| channels.insert(open_channel(1)).unwrap().0).collect();
        let mut granted = vec![Limits::default().window; ids.len()];
        for _ in 0..15 {
            now += std::time::Duration::from_millis(100);
            for id in &ids {
                let channel = channels.get(*id).unwrap();
                let mut measured = None;
                assert!(
                    channel
                        .receive
                        .take(granted[*id as usize] as usize, now, |sample| measured = Some(sample))
                );
                assert!(channel.consume(granted[*id as usize] as usize));
                measured.into_iter().for_each(|sample| channels.round_trip.measured(sample, now));
                channels.adjust_due(*id);
                granted[*id as usize] = channels.next_adjust(now).unwrap().1;
            }
        }
        let grown: u64 = granted.iter().map(|bytes| u64::from(bytes - Limits::default().window)).sum();
        assert_eq!(grown, u64::from(MAX_GROWTH));
        ids.iter().for_each(|id| channels.remove(*id));
        assert_eq!(channels.growth, 0);
    }

    #[test]
    fn a_number_is_reused_only_after_removal() {
        let mut channels = Channels::default();
        let first = channels.insert(open_channel(1)).unwrap();
        assert_ne!(channels.insert(open_channel(1)).unwrap(), first);
        channels.remove(first.0);
        channels.remove(first.0);
        assert_eq!(channels.len(), 1);
        assert_eq!(channels.insert(open_channel(1)).unwrap(), first);
    }
}
