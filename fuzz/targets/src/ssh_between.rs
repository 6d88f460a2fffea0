//! A client and a server with somebody between them who shares keys with both: what they say to each other is passed on, or left out,
//! repeated, swapped, changed, or made up. Each end must take and refuse what a ledger of its own says, and say nothing that the
//! ledger forbids, whatever the other is made to say.

use std::collections::{BTreeMap, VecDeque};

use culvert_ssh::{ChannelId, ChannelOpen, Event, Limits, ReplyToken};

use crate::ssh_channels::{CHANNELS, LARGEST_WINDOW, MOST_OPERATIONS, REKEY_BYTES, WINDOW};
use crate::ssh_ledger::{Ledger, Must};
use crate::ssh_peer::{Peer, string, usual_offer};
use crate::ssh_setup;

/// The connection allows some more.
const MOST_CHANGES: usize = 8;
/// Numbers that are most of the edges there are.
const NUMBERS: [u32; 12] =
    [0, 1, 8, 9, 11, 100, WINDOW, LARGEST_WINDOW, 32 * 1024, 32 * 1024 + 1, u32::MAX - WINDOW, u32::MAX];

/// Operations, three bytes each: what and who, about what, how much.
pub(crate) fn run(keys_change: bool, operations: &[u8]) {
    let mut between = Between::new(keys_change);
    for operation in operations.chunks_exact(3).take(MOST_OPERATIONS) {
        if let [what, which, amount] = operation {
            between.operate(*what, usize::from(*which), usize::from(*amount));
        }
    }
    for end in &mut between.ends {
        end.leave_nothing();
    }
}

struct End {
    peer: Peer,
    ledger: Ledger,
    /// It refused what it was told, or was told what nobody can tell about.
    ended: bool,
    /// It gets new keys when it asks for them; otherwise it has to wait until an operation says so.
    prompt: bool,
    /// Changes of keys that the other end has begun.
    changes: usize,
    /// What it said and was not passed on.
    said: VecDeque<Vec<u8>>,
    /// What the application holds, and how many bytes of it wait to be consumed.
    channels: BTreeMap<ChannelId, usize>,
    offered: Vec<ChannelId>,
    to_answer: Vec<(ReplyToken, Vec<u8>)>,
}

struct Between {
    ends: [End; 2],
}

impl Between {
    fn new(keys_change: bool) -> Self {
        let limits = Limits {
            channels: CHANNELS,
            window: WINDOW,
            largest_window: LARGEST_WINDOW,
            rekey_bytes: keys_change.then_some(REKEY_BYTES),
        };
        let now = tokio::time::Instant::now().into_std();
        let (mut client, mut server) = (ssh_setup::client_config(), ssh_setup::server_config());
        (client.limits, server.limits) = (limits, limits);
        let ends = [Peer::of_client(client, now), Peer::of_server(server, now)];
        Self { ends: ends.map(End::new) }
    }

    fn operate(&mut self, what: u8, which: usize, amount: usize) {
        let side = usize::from(what & 1);
        if what >> 1 & 31 < 16 {
            self.ends[side].act(what >> 1 & 15, which, amount);
        } else {
            self.pass(what >> 1 & 15, side, which, amount);
        }
    }

    /// Something happens to what `side` said.
    fn pass(&mut self, what: u8, side: usize, which: usize, amount: usize) {
        let (said, other) = match &mut self.ends {
            [client, server] if side == 0 => (&mut client.said, server),
            [client, server] => (&mut server.said, client),
        };
        let at = if said.is_empty() { 0 } else { which % said.len() };
        match what {
            0..=3 => {
                for _ in 0..amount {
                    let Some(message) = said.pop_front() else { break };
                    other.tell(&message);
                }
            }
            4 => {
                if let Some(message) = said.pop_front() {
                    other.tell(&message);
                }
            }
            5 => drop(said.remove(at)),
            6 => {
                let message = said.get(at).cloned();
                said.extend(message);
            }
            7 => {
                if let Some(message) = said.remove(at) {
                    said.push_back(message);
                }
            }
            8 => {
                if let Some(message) = said.get_mut(at) {
                    let at = amount % message.len();
                    message[at] ^= 1 << (which % 8);
                }
            }
            9 => {
                // The numbers behind the first byte: recipient, and what follows it.
                if let Some(message) = said.get_mut(at)
                    && let Some(number) = message.get_mut(1 + amount % 4 * 4..5 + amount % 4 * 4)
                {
                    number.copy_from_slice(&NUMBERS[amount / 4 % NUMBERS.len()].to_be_bytes());
                }
            }
            10 => {
                if let Some(message) = said.get_mut(at) {
                    message.truncate(amount.max(1));
                }
            }
            11 => {
                if let Some(message) = said.get_mut(at) {
                    message[0] = 80 + (amount % 21) as u8;
                }
            }
            _ => other.tell(&made_up(what, which, amount)),
        }
    }
}

/// A message that nobody said.
fn made_up(kind: u8, which: usize, amount: usize) -> Vec<u8> {
    let number = |index: usize| NUMBERS[index % NUMBERS.len()];
    // Mostly a small one, which may be in use.
    let recipient = if which < 13 * 13 { (which / 13) as u32 } else { number(which) };
    let some = number(amount).min(40_000);
    let number_of = |message: u8, values: &[u32]| {
        let values = values.iter().flat_map(|value| value.to_be_bytes());
        [message].into_iter().chain(values).collect::<Vec<u8>>()
    };
    match (kind, which % 13) {
        (12, 0..=6) => [number_of(94, &[recipient]), string(&vec![1; some as usize])].concat(),
        (12, 7 | 8) => [number_of(95, &[recipient, 1]), string(&vec![1; some as usize])].concat(),
        (12, _) => number_of(93, &[recipient, number(amount)]),
        (13, 0..=4) => {
            let numbers = number_of(90, &[recipient, number(amount), number(amount / 12)]);
            [&[90][..], &string(b"test"), &numbers[1..], b"x"].concat()
        }
        (13, 5..=8) => number_of(91, &[recipient, amount as u32, number(amount), number(amount / 12)]),
        (13, _) => [number_of(92, &[recipient, 1]), string(b"no"), string(b"")].concat(),
        (14, 0..=4) => number_of(96, &[recipient]),
        (14, 5..=8) => number_of(97, &[recipient]),
        (14, _) => [number_of(98, &[recipient]), string(b"exec"), vec![(amount % 2) as u8]].concat(),
        (15, 0..=3) => [&[80][..], &string(b"question"), &[(amount % 2) as u8, which as u8]].concat(),
        (15, 4..=6) => vec![81 + (amount % 2) as u8],
        (15, 7..=9) => [&[192][..], &string(&vec![2; amount])].concat(),
        _ => [vec![amount as u8 | 128], vec![3; which]].concat(),
    }
}

impl End {
    fn new(mut peer: Peer) -> Self {
        peer.log_in(&usual_offer());
        while peer.connection.poll_event().is_some() {}
        peer.heard.clear();
        Self {
            peer,
            ledger: Ledger::new(LARGEST_WINDOW),
            ended: false,
            prompt: true,
            changes: 0,
            said: VecDeque::new(),
            channels: BTreeMap::new(),
            offered: Vec::new(),
            to_answer: Vec::new(),
        }
    }

    /// The application does something.
    fn act(&mut self, what: u8, which: usize, amount: usize) {
        if self.ended {
            return;
        }
        let count = self.channels.len();
        let id = if count == 0 { None } else { self.channels.keys().nth(which % count).copied() };
        let connection = &mut self.peer.connection;
        match (what, id) {
            (0, _) => {
                let open = ChannelOpen { kind: "test", payload: &[which as u8] };
                if let Ok(id) = connection.open_channel(open) {
                    assert_eq!(self.channels.insert(id, 0), None, "an identifier was given twice");
                }
            }
            (1 | 2, _) if !self.offered.is_empty() => {
                let id = self.offered.swap_remove(which % self.offered.len());
                if what == 2 && amount.is_multiple_of(2) {
                    connection.reject_channel(id, 1, "no");
                } else {
                    connection.accept_channel(id);
                    assert_eq!(self.channels.insert(id, 0), None, "an identifier was given twice");
                }
            }
            (3, Some(id)) => drop(connection.write(id, &vec![4; amount])),
            (4, Some(id)) => drop(connection.write(id, &vec![5; amount * 600])),
            (5, Some(id)) => drop(connection.write_from(id, |slots| {
                slots.iter().map(|slot| slot.len()).sum::<usize>().min(amount * 300)
            })),
            (6, Some(id)) => connection.finish(id),
            (7, Some(id)) => {
                connection.close(id);
                self.channels.remove(&id);
            }
            (8, Some(id)) if amount.is_multiple_of(4) => {
                connection.abort(id);
                self.channels.remove(&id);
            }
            (9 | 10, Some(id)) => {
                let waiting = self.channels.get_mut(&id).expect("it was found there");
                let bytes = if what == 9 { (*waiting).min(amount * 20) } else { *waiting };
                *waiting -= bytes;
                connection.consume(id, bytes);
            }
            (11, _) => drop(connection.request(b"question", amount.is_multiple_of(2), &[which as u8])),
            (12, _) if !self.to_answer.is_empty() => {
                let (token, body) = self.to_answer.swap_remove(which % self.to_answer.len());
                connection.reply(token, Ok(body));
            }
            (13, _) => self.prompt = amount.is_multiple_of(2),
            (14, _) => self.change_keys(),
            (15, _) => self.peer.piece = amount * 8 + 1,
            _ => {}
        }
        self.hear();
    }

    /// The other end wants new keys.
    fn change_keys(&mut self) {
        if !self.peer.is_asked() {
            if self.changes == MOST_CHANGES {
                return;
            }
            self.changes += 1;
            let begun = self.peer.kexinit(usual_offer().encode());
            begun.expect("new keys may be wanted at any time");
        }
        self.take_keys();
    }

    fn take_keys(&mut self) {
        self.peer.tend(&usual_offer()).expect("the exchange is by the book");
    }

    fn tell(&mut self, message: &[u8]) {
        // Key exchange and what ends a connection are not what is tested here; empty messages are nobody's.
        if self.ended || matches!(message.first(), None | Some(0..80)) {
            return;
        }
        let must = self.ledger.told(message);
        self.peer.data.clear();
        let result = self.peer.say(message);
        match (&result, must) {
            (Err(error), Must::Take) => unreachable!("what is right was refused: {error}: {message:02x?}"),
            (Ok(()), Must::Refuse) => unreachable!("what breaks a rule was taken: {message:02x?}"),
            _ => {}
        }
        if result.is_err() {
            self.ended = true;
            return;
        }
        for (data, bytes) in std::mem::take(&mut self.peer.data) {
            assert!(message[0] == 94 && message.ends_with(&bytes), "data that nobody sent");
            // It may be for one that the application has just been offered and cannot have accepted.
            *self.channels.get_mut(&data.id).expect("data is for a channel in use") += bytes.len();
        }
        self.hear();
    }

    /// Takes what the connection has to say and to tell.
    fn hear(&mut self) {
        loop {
            self.peer.listen();
            if self.prompt && self.peer.is_asked() {
                self.take_keys();
            } else {
                break;
            }
        }
        for message in self.peer.heard.drain(..) {
            self.ledger.said(&message);
            self.said.push_back(message);
        }
        // An application that hears of a refusal or an end may take its time to let go.
        while let Some(event) = self.peer.connection.poll_event() {
            match event {
                Event::ChannelOffered { id, .. } => self.offered.push(id),
                Event::Request { reply: Some(token), payload, .. } => self.to_answer.push((token, payload)),
                _ => {}
            }
        }
        self.ended |= self.ledger.is_ambiguous();
    }

    /// When the application has let go of everything, and the other end has closed everything, as many channels can be opened as at
    /// first.
    fn leave_nothing(&mut self) {
        self.prompt = true;
        self.peer.piece = usize::MAX;
        self.act(13, 0, 0);
        while !self.ended && !self.to_answer.is_empty() {
            self.act(12, 0, 0);
        }
        while !self.ended && !self.offered.is_empty() {
            self.act(2, 0, 0);
        }
        while !self.ended && !self.channels.is_empty() {
            self.act(7, 0, 0);
        }
        let left: Vec<(u32, bool, bool)> = self
            .ledger
            .channels
            .iter()
            .map(|(id, channel)| (*id, channel.remote.is_some(), channel.was_closed()))
            .collect();
        for (id, is_open, was_closed) in left {
            if !is_open {
                self.tell(&[&[92][..], &id.to_be_bytes(), &[0, 0, 0, 1], &[0; 8]].concat());
            } else if !was_closed {
                self.tell(&[&[97][..], &id.to_be_bytes()].concat());
            }
        }
        if self.ended {
            return;
        }
        assert!(self.ledger.channels.is_empty(), "a channel was not closed");
        assert!(!self.ledger.owes(), "a question stays without an answer");
        for _ in 0..CHANNELS {
            let open = ChannelOpen { kind: "test", payload: b"" };
            self.peer.connection.open_channel(open).expect("a closed channel was kept");
        }
    }
}
