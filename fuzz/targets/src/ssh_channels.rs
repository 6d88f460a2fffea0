//! Two connections joined in memory, moved by operations that the input spells out, against a model of what channels promise: bytes come
//! out as they went in, on the channel they were meant for, never more than the window, and all of them if nobody cut them off; answers
//! come in the order of the questions; nothing is left behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use culvert_ssh::{ChannelId, ChannelOpen, Connection, Event, Limits, ReplyToken, RequestId};

use crate::ssh::FixedKeys;
use crate::{ssh_between, ssh_setup};

pub(crate) const CHANNELS: usize = 12;
pub(crate) const WINDOW: u32 = 5000;
pub(crate) const LARGEST_WINDOW: u32 = 40_000;
/// Each change of keys takes as long as thousands of other operations.
pub(crate) const REKEY_BYTES: u64 = 20_000;
pub(crate) const MOST_OPERATIONS: usize = 400;
const MOST_QUESTIONS: usize = 100;

/// Operations, three bytes each: what and who, to which channel, how much. The first byte of all says whether keys change, and whether
/// somebody stands between the two, who is not to be trusted.
pub(crate) fn ssh_channels(data: &[u8]) {
    let Some((mode, operations)) = data.split_first() else { return };
    let keys_change = mode & 1 == 1;
    if mode & 2 == 2 {
        return ssh_between::run(keys_change, operations);
    }
    let mut pair = Pair::new(keys_change);
    for operation in operations.chunks_exact(3).take(MOST_OPERATIONS) {
        if let [what, channel, amount] = operation {
            pair.operate(*what, usize::from(*channel), usize::from(*amount));
        }
    }
    pair.come_to_rest();
    pair.check_complete();
    pair.leave_nothing();
}

/// A channel, by the order in which they were asked for; the sides are 0 and 1.
struct Channel {
    sides: [Side; 2],
}

#[derive(Default)]
struct Side {
    /// While the application may use it.
    id: Option<ChannelId>,
    is_open: bool,
    finished: bool,
    /// The application let go of it, and whether it waited for what was queued.
    closed: Option<Closing>,
    written: usize,
    received: usize,
    consumed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    AfterQueue,
    AtOnce,
}

struct End {
    connection: Connection,
    /// Sent by this end and not yet delivered.
    wire: VecDeque<u8>,
    /// Delivered to this end and not yet a packet.
    input: Vec<u8>,
    /// Which channel an identifier stands for.
    channels: BTreeMap<ChannelId, usize>,
    offered: Vec<usize>,
    asked: VecDeque<(RequestId, u8)>,
    to_answer: Vec<(ReplyToken, Vec<u8>)>,
    question: u8,
}

struct Pair {
    ends: [End; 2],
    channels: Vec<Channel>,
    now: Instant,
}

impl Pair {
    fn new(keys_change: bool) -> Self {
        let limits = Limits {
            channels: CHANNELS,
            window: WINDOW,
            largest_window: LARGEST_WINDOW,
            rekey_bytes: keys_change.then_some(REKEY_BYTES),
        };
        let mut client = ssh_setup::client_config();
        client.limits = limits;
        let mut server = ssh_setup::server_config();
        server.limits = limits;
        let ends = [
            End::new(Connection::client(client, Box::new(FixedKeys))),
            End::new(Connection::server(server, Box::new(FixedKeys))),
        ];
        let mut pair = Self { ends, channels: Vec::new(), now: tokio::time::Instant::now().into_std() };
        pair.come_to_rest();
        assert!(pair.ends.iter().all(|end| end.connection.is_authenticated()), "login did not work");
        pair
    }

    fn operate(&mut self, what: u8, channel: usize, amount: usize) {
        let side = usize::from(what & 1);
        match what >> 1 & 15 {
            0 => self.open(side),
            1 => self.answer_offer(side, channel, true),
            2 => self.answer_offer(side, channel, amount.is_multiple_of(2)),
            3 => self.write(side, channel, amount),
            4 => self.write(side, channel, amount * 50),
            5 => self.on(side, channel, |pair, serial, id| {
                pair.ends[side].connection.finish(id);
                pair.channels[serial].sides[side].finished = true;
            }),
            6 => self.on(side, channel, |pair, serial, id| pair.close(side, serial, id, Closing::AfterQueue)),
            7 if amount.is_multiple_of(4) => {
                self.on(side, channel, |pair, serial, id| pair.close(side, serial, id, Closing::AtOnce));
            }
            8 => self.consume(side, channel, amount * 20),
            9 => self.consume(side, channel, usize::MAX),
            7 => self.write_directly(side, channel, amount * 10),
            10 => drop(self.transmit(side)),
            11 => drop(self.deliver(side, amount)),
            12 => drop(self.deliver(side, amount * 200)),
            13 => self.ask(side),
            14 => self.answer(side, channel),
            _ => {
                self.transmit(side);
                self.deliver(side, usize::MAX);
            }
        }
    }

    /// Does something with a channel of that side's application, if it has any.
    fn on(&mut self, side: usize, channel: usize, action: impl FnOnce(&mut Self, usize, ChannelId)) {
        let count = self.ends[side].channels.len();
        if count > 0
            && let Some((id, serial)) = self.ends[side].channels.iter().nth(channel % count)
        {
            let (id, serial) = (*id, *serial);
            action(self, serial, id);
        }
    }

    fn open(&mut self, side: usize) {
        let serial = self.channels.len();
        let payload = (serial as u32).to_be_bytes();
        let end = &mut self.ends[side];
        let Ok(id) = end.connection.open_channel(ChannelOpen { kind: "test", payload: &payload }) else {
            return;
        };
        assert_eq!(end.channels.insert(id, serial), None, "an identifier was given twice");
        let mut channel = Channel { sides: <[Side; 2]>::default() };
        channel.sides[side].id = Some(id);
        self.channels.push(channel);
    }

    fn answer_offer(&mut self, side: usize, channel: usize, accept: bool) {
        let end = &mut self.ends[side];
        if end.offered.is_empty() {
            return;
        }
        let serial = end.offered.swap_remove(channel % end.offered.len());
        let Some(id) = self.channels[serial].sides[side].id else { return };
        if accept {
            end.connection.accept_channel(id);
            self.channels[serial].sides[side].is_open = true;
        } else {
            end.connection.reject_channel(id, u32::MAX, "no");
            end.channels.remove(&id);
            self.channels[serial].sides[side].id = None;
        }
    }

    fn write(&mut self, side: usize, channel: usize, len: usize) {
        self.on(side, channel, |pair, serial, id| {
            let own = &mut pair.channels[serial].sides[side];
            if pair.ends[side].offered.contains(&serial) || own.finished {
                return;
            }
            let bytes: Vec<u8> =
                (own.written..own.written + len).map(|at| expected(serial, side, at)).collect();
            own.written += pair.ends[side].connection.write(id, &bytes);
        });
    }

    /// Fills packets in place, as a driver does that reads a socket into them.
    fn write_directly(&mut self, side: usize, channel: usize, most: usize) {
        self.on(side, channel, |pair, serial, id| {
            let own = &mut pair.channels[serial].sides[side];
            if pair.ends[side].offered.contains(&serial) || own.finished {
                return;
            }
            let from = own.written;
            let filled = pair.ends[side].connection.write_from(id, |slots| {
                let bytes = slots.iter_mut().flat_map(|slot| slot.iter_mut()).take(most);
                bytes.zip(from..).map(|(byte, at)| *byte = expected(serial, side, at)).count()
            });
            own.written += filled.unwrap_or(0);
        });
    }

    fn close(&mut self, side: usize, serial: usize, id: ChannelId, how: Closing) {
        let end = &mut self.ends[side];
        if end.offered.contains(&serial) {
            return;
        }
        match how {
            Closing::AfterQueue => end.connection.close(id),
            Closing::AtOnce => end.connection.abort(id),
        }
        end.channels.remove(&id);
        let own = &mut self.channels[serial].sides[side];
        own.id = None;
        own.closed = Some(how);
    }

    fn consume(&mut self, side: usize, channel: usize, most: usize) {
        self.on(side, channel, |pair, serial, id| {
            let own = &mut pair.channels[serial].sides[side];
            let bytes = (own.received - own.consumed).min(most);
            own.consumed += bytes;
            pair.ends[side].connection.consume(id, bytes);
        });
    }

    fn ask(&mut self, side: usize) {
        let end = &mut self.ends[side];
        if end.asked.len() < MOST_QUESTIONS {
            end.question = end.question.wrapping_add(1);
            let id = end.connection.request(b"question", true, &[end.question]).expect("an answer is wanted");
            end.asked.push_back((id, end.question));
        }
    }

    fn answer(&mut self, side: usize, which: usize) {
        let end = &mut self.ends[side];
        if !end.to_answer.is_empty() {
            let (token, body) = end.to_answer.swap_remove(which % end.to_answer.len());
            end.connection.reply(token, Ok(body));
        }
    }

    fn transmit(&mut self, side: usize) -> bool {
        let mut out = Vec::new();
        let sent = self.ends[side].connection.poll_transmit(&mut out, self.now);
        self.ends[side].wire.extend(out);
        self.take_events(side);
        sent
    }

    /// Moves bytes that `from` sent to the other side.
    fn deliver(&mut self, from: usize, most: usize) -> bool {
        let to = 1 - from;
        let bytes: Vec<u8> = {
            let wire = &mut self.ends[from].wire;
            let len = most.min(wire.len());
            wire.drain(..len).collect()
        };
        self.ends[to].input.extend_from_slice(&bytes);
        let mut at = 0;
        loop {
            let end = &mut self.ends[to];
            let progress = end.connection.handle_input(&mut end.input[at..], self.now);
            let progress = progress.unwrap_or_else(|error| unreachable!("side {to} failed: {error}"));
            let start = at;
            at += progress.consumed;
            let consumed = progress.consumed;
            if let Some(data) = progress.data {
                let serial = *end.channels.get(&data.id).expect("data is for a channel in use");
                let bytes = &end.input[start..][data.range];
                receive(&mut self.channels[serial].sides, serial, to, bytes);
            }
            self.take_events(to);
            if consumed == 0 {
                break;
            }
        }
        self.ends[to].input.drain(..at);
        !bytes.is_empty()
    }

    fn take_events(&mut self, side: usize) {
        while let Some(event) = self.ends[side].connection.poll_event() {
            self.take_event(side, event);
        }
    }

    fn take_event(&mut self, side: usize, event: Event) {
        let end = &mut self.ends[side];
        match event {
            Event::ChannelOffered { id, payload, .. } => {
                let serial =
                    payload.try_into().map(u32::from_be_bytes).expect("four bytes were sent") as usize;
                assert_eq!(end.channels.insert(id, serial), None, "an identifier was given twice");
                end.offered.push(serial);
                self.channels[serial].sides[side].id = Some(id);
            }
            Event::ChannelOpened(id) => {
                let serial = *end.channels.get(&id).expect("it was asked for");
                let sides = &mut self.channels[serial].sides;
                assert!(sides[1 - side].is_open && !sides[side].is_open, "opened without an acceptance");
                sides[side].is_open = true;
            }
            Event::ChannelRefused { id, .. } => {
                // An application that gave up in the meantime hears of it all the same.
                if let Some(serial) = end.channels.remove(&id) {
                    end.connection.close(id);
                    assert!(!self.channels[serial].sides[1 - side].is_open, "refused and accepted");
                    self.channels[serial].sides[side].id = None;
                }
            }
            Event::ChannelFinished(id) => {
                if let Some(serial) = end.channels.get(&id) {
                    assert!(self.channels[*serial].sides[1 - side].finished, "an end that nobody sent");
                }
            }
            Event::ChannelClosed(id) => {
                if let Some(serial) = end.channels.get(&id) {
                    let other = &self.channels[*serial].sides[1 - side];
                    assert!(other.closed.is_some(), "a close that nobody sent");
                }
            }
            Event::Request { payload, reply, .. } => {
                end.to_answer.push((reply.expect("every question wants an answer"), payload));
            }
            Event::Reply { id, reply } => {
                let (asked, question) = end.asked.pop_front().expect("something was asked");
                assert_eq!((id, reply), (asked, Ok(vec![question])), "answers are out of order");
            }
            Event::Preamble(_)
            | Event::Keyed { .. }
            | Event::Authenticated { .. }
            | Event::ChannelWritable(_) => {}
        }
    }

    /// Moves and consumes everything until nothing moves; what still waits for an answer gets it.
    fn come_to_rest(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                while !self.ends[side].offered.is_empty() {
                    self.answer_offer(side, 0, true);
                    moved = true;
                }
                while !self.ends[side].to_answer.is_empty() {
                    self.answer(side, 0);
                    moved = true;
                }
                for channel in 0..self.ends[side].channels.len() {
                    self.consume(side, channel, usize::MAX);
                }
                moved |= self.transmit(side);
                moved |= self.deliver(side, usize::MAX);
            }
            if !moved {
                return;
            }
        }
    }

    /// What was written and not cut off has arrived.
    fn check_complete(&self) {
        for channel in &self.channels {
            for side in [0, 1] {
                let (from, to) = (&channel.sides[side], &channel.sides[1 - side]);
                let cut = from.closed == Some(Closing::AtOnce) || to.closed.is_some();
                if from.is_open && to.is_open && !cut {
                    assert_eq!(to.received, from.written, "bytes were lost");
                }
            }
        }
        assert!(self.ends.iter().all(|end| end.asked.is_empty()), "a question stays without an answer");
    }

    /// When both applications have let go of everything, as many channels can be opened as at first.
    fn leave_nothing(&mut self) {
        for side in [0, 1] {
            while !self.ends[side].channels.is_empty() {
                self.on(side, 0, |pair, serial, id| pair.close(side, serial, id, Closing::AfterQueue));
            }
        }
        self.come_to_rest();
        for end in &mut self.ends {
            for _ in 0..CHANNELS {
                let open = ChannelOpen { kind: "test", payload: b"" };
                end.connection.open_channel(open).expect("a closed channel was kept");
            }
        }
    }
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            wire: VecDeque::new(),
            input: Vec::new(),
            channels: BTreeMap::new(),
            offered: Vec::new(),
            asked: VecDeque::new(),
            to_answer: Vec::new(),
            question: 0,
        }
    }
}

/// Checks bytes that came out on a channel of side `to`.
fn receive(sides: &mut [Side; 2], serial: usize, to: usize, bytes: &[u8]) {
    let written = sides[1 - to].written;
    let own = &mut sides[to];
    for byte in bytes {
        assert_eq!(*byte, expected(serial, 1 - to, own.received), "channel {serial}: bytes are mixed up");
        own.received += 1;
    }
    assert!(own.received <= written, "more came out than went in");
    assert!(own.received - own.consumed <= LARGEST_WINDOW as usize, "the window was overrun");
    assert!(own.is_open && own.closed.is_none(), "data on a channel that is not open");
}

/// The byte that belongs at a position of a channel's direction.
fn expected(serial: usize, side: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ at >> 8 ^ serial.wrapping_mul(101) ^ side.wrapping_mul(57)) as u8
}
