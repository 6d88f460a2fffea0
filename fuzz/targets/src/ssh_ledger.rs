//! What RFC 4254 lets one end of a connection say about channels and requests, and what it must accept, worked out from nothing but
//! the messages that it was told and has said.

use std::collections::BTreeMap;

use culvert_ssh::wire::{Reader, WireError};

/// PROTOCOL.md 3.7: more data in one message is refused.
const MAX_DATA: u64 = 32 * 1024;
/// Who accepts less than a message's head at once is refused.
const LEAST_PACKET: u32 = 9;
/// Requests whose answers may be owed at a time.
const MAX_UNANSWERED: usize = 128;

/// What must come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    Take,
    Refuse,
    Either,
}

/// A channel, by the number of the end that is watched.
#[derive(Default)]
pub(crate) struct Channel {
    /// The other's number; none before the other's answer.
    pub(crate) remote: Option<u32>,
    /// Bytes that this end may still send, at most.
    send: u64,
    /// The most it may send at once.
    max_packet: u64,
    /// Bytes that this end must still accept.
    receive: u64,
    said_eof: bool,
    said_close: bool,
    ended: Ended,
}

/// What the other has said of its direction.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    #[default]
    Not,
    Eof,
    Close,
}

impl Channel {
    /// The other has closed it.
    pub(crate) fn was_closed(&self) -> bool {
        self.ended == Ended::Close
    }
}

/// An offer of the other that was not answered: its number, window and limit.
type Offer = (u32, u64, u64);

/// One end.
pub(crate) struct Ledger {
    largest_window: u64,
    pub(crate) channels: BTreeMap<u32, Channel>,
    offers: Vec<Offer>,
    /// The other gave one number to several channels at once: what is said to it could be about any.
    ambiguous: bool,
    /// Requests of this end without an answer.
    asked: usize,
    /// Answers that this end owes.
    owed: usize,
    owed_on_channels: usize,
}

impl Ledger {
    pub(crate) fn new(largest_window: u32) -> Self {
        Self {
            largest_window: u64::from(largest_window),
            channels: BTreeMap::new(),
            offers: Vec::new(),
            ambiguous: false,
            asked: 0,
            owed: 0,
            owed_on_channels: 0,
        }
    }

    /// Notes a message to this end, which is logged in.
    pub(crate) fn told(&mut self, payload: &[u8]) -> Must {
        // What cannot be read breaks the grammar.
        let must = self.read_told(payload).unwrap_or(Must::Refuse);
        if self.is_ambiguous() { Must::Either } else { must }
    }

    fn read_told(&mut self, payload: &[u8]) -> Result<Must, WireError> {
        let mut reader = Reader::new(payload);
        let number = reader.u8()?;
        Ok(match number {
            80 => {
                reader.string()?;
                let wanted = reader.bool()?;
                let fits = !wanted || self.owed < MAX_UNANSWERED;
                self.owed += usize::from(wanted && fits);
                must_take(fits)
            }
            81 | 82 => {
                let was_asked = self.asked > 0;
                self.asked = self.asked.saturating_sub(1);
                must_take(was_asked)
            }
            90 => {
                reader.string()?;
                let (sender, window, most) = (reader.u32()?, reader.u32()?, reader.u32()?);
                self.offers.push((sender, u64::from(window), u64::from(most)));
                must_take(most >= LEAST_PACKET)
            }
            91..=100 => {
                let id = reader.u32()?;
                self.told_of_channel(number, id, &mut reader)?
            }
            192 => {
                reader.string()?;
                Must::Take
            }
            _ => Must::Either,
        })
    }

    fn told_of_channel(&mut self, number: u8, id: u32, reader: &mut Reader<'_>) -> Result<Must, WireError> {
        let known = self.channels.get_mut(&id);
        let is_open = known.as_ref().is_some_and(|channel| channel.remote.is_some());
        Ok(match (number, known) {
            (91, known) => {
                let (sender, window, most) = (reader.u32()?, reader.u32()?, reader.u32()?);
                let Some(channel) = known.filter(|channel| channel.remote.is_none() && most >= LEAST_PACKET)
                else {
                    return Ok(Must::Refuse);
                };
                channel.remote = Some(sender);
                (channel.send, channel.max_packet) = (u64::from(window), u64::from(most));
                self.note_remote(id, sender);
                Must::Take
            }
            (92, known) => {
                reader.u32()?;
                reader.string()?;
                let was_asked = known.is_some_and(|channel| channel.remote.is_none());
                if was_asked {
                    self.channels.remove(&id);
                }
                must_take(was_asked)
            }
            (93, known) => {
                let bytes = u64::from(reader.u32()?);
                let Some(channel) = known.filter(|_| is_open) else { return Ok(Must::Either) };
                channel.send += bytes;
                // It may have less than it was given, by its own choice.
                if channel.send <= u64::from(u32::MAX) { Must::Take } else { Must::Either }
            }
            (94 | 95, known) => {
                if number == 95 {
                    reader.u32()?;
                }
                let len = reader.string()?.len() as u64;
                let Some(channel) = known.filter(|_| is_open) else { return Ok(Must::Refuse) };
                let fits = channel.ended == Ended::Not && len <= channel.receive && len <= MAX_DATA;
                channel.receive = channel.receive.saturating_sub(len);
                must_take(fits)
            }
            (96 | 97, known) => {
                let Some(channel) = known.filter(|_| is_open) else { return Ok(Must::Refuse) };
                let now = if number == 96 { Ended::Eof } else { Ended::Close };
                let fits = channel.ended < now;
                channel.ended = channel.ended.max(now);
                self.forget_if_over(id);
                must_take(fits)
            }
            (98, known) => {
                reader.string()?;
                let wanted = reader.bool()?;
                let open = known.filter(|_| is_open).is_some();
                self.owed_on_channels += usize::from(wanted);
                if open { Must::Take } else { Must::Either }
            }
            // Answers to what is never asked mean nothing.
            _ => Must::Either,
        })
    }

    /// Checks a message that this end has said.
    pub(crate) fn said(&mut self, payload: &[u8]) {
        if self.is_ambiguous() {
            return;
        }
        let mut reader = Reader::new(payload);
        self.read_said(&mut reader)
            .unwrap_or_else(|error| unreachable!("it says what nobody can read: {error}"));
    }

    fn read_said(&mut self, reader: &mut Reader<'_>) -> Result<(), WireError> {
        let number = reader.u8()?;
        match number {
            80 => {
                reader.string()?;
                self.asked += usize::from(reader.bool()?);
            }
            81 | 82 => self.owed = self.owed.checked_sub(1).expect("an answer nobody asked for"),
            90 => {
                reader.string()?;
                let (id, window) = (reader.u32()?, reader.u32()?);
                self.add(id, Channel { receive: u64::from(window), ..Channel::default() });
            }
            91 => {
                let (remote, id, window) = (reader.u32()?, reader.u32()?, reader.u32()?);
                let (send, max_packet) = self.answer(remote);
                let receive = u64::from(window);
                let remote_known = Some(remote);
                self.add(
                    id,
                    Channel { remote: remote_known, send, max_packet, receive, ..Channel::default() },
                );
                self.note_remote(id, remote);
            }
            92 => drop(self.answer(reader.u32()?)),
            93..=100 => {
                let remote = reader.u32()?;
                self.said_of_channel(number, remote, reader)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn said_of_channel(&mut self, number: u8, remote: u32, reader: &mut Reader<'_>) -> Result<(), WireError> {
        if matches!(number, 99 | 100) {
            self.owed_on_channels =
                self.owed_on_channels.checked_sub(1).expect("an answer nobody asked for, on a channel");
            return Ok(());
        }
        let found = self.channels.iter_mut().find(|(_, channel)| channel.remote == Some(remote));
        let Some((id, channel)) = found else {
            unreachable!("message {number} for channel {remote}, which is not open")
        };
        let id = *id;
        assert!(!channel.said_close, "message {number} after CLOSE");
        match number {
            93 => {
                channel.receive += u64::from(reader.u32()?);
                assert!(channel.receive <= self.largest_window, "a window beyond the largest");
            }
            94 => {
                let len = reader.string()?.len() as u64;
                assert!(!channel.said_eof, "data after EOF");
                assert!(len <= channel.send && len <= channel.max_packet, "the other's window was overrun");
                channel.send -= len;
            }
            96 => assert!(!std::mem::replace(&mut channel.said_eof, true), "EOF twice"),
            97 => {
                channel.said_close = true;
                self.forget_if_over(id);
            }
            _ => unreachable!("message {number} is never said"),
        }
        Ok(())
    }

    fn add(&mut self, id: u32, channel: Channel) {
        let before = self.channels.insert(id, channel);
        assert!(before.is_none(), "number {id} is in use");
    }

    /// The most that an offer with this number allows; it is answered now.
    fn answer(&mut self, remote: u32) -> (u64, u64) {
        let same = self.offers.iter().filter(|offer| offer.0 == remote);
        let most = same.fold((0, 0), |most: (u64, u64), offer| (most.0.max(offer.1), most.1.max(offer.2)));
        let at = self.offers.iter().position(|offer| offer.0 == remote).expect("an answer to no offer");
        self.offers.swap_remove(at);
        most
    }

    fn note_remote(&mut self, id: u32, remote: u32) {
        let shared =
            self.channels.iter().any(|(other, channel)| *other != id && channel.remote == Some(remote));
        self.ambiguous |= shared;
    }

    fn forget_if_over(&mut self, id: u32) {
        let over = |channel: &Channel| channel.said_close && channel.was_closed();
        if self.channels.get(&id).is_some_and(over) {
            self.channels.remove(&id);
        }
    }

    /// Nothing more can be told from what it says: a number means several channels.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Answers that this end still owes.
    pub(crate) fn owes(&self) -> bool {
        self.owed > 0
    }
}

fn must_take(fits: bool) -> Must {
    if fits { Must::Take } else { Must::Refuse }
}
