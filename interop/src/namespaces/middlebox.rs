//! What stands between the two namespaces: takes packets from one device and gives them to the other, later, or not at all, or answers itself.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::packet::{Carrier, Packet};
use crate::clock;
use crate::failure::Failure;

/// Largest packet, and most that wait in one direction: what is more is lost, as in any queue.
const LARGEST: usize = 2048;
const MOST_WAITING: usize = 20_000;
/// Flows that the box remembers.
const MOST_FLOWS: usize = 10_000;

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client's namespace.
    Up,
    /// From the server's.
    Down,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Pass,
    /// It is lost; others of its flow are looked at anew.
    Lose,
    /// It is lost, and all further ones of its flow, both ways.
    Mute,
    /// The same, and the sender gets a reset.
    Reset,
    /// It passes, and before any other answer the sender gets one to a question for addresses, with this one.
    Lie(Ipv4Addr),
}

/// Judges packets; `number` is how many of this flow and way with payload came before.
pub(super) type Judge = Box<dyn FnMut(Way, &Packet<'_>, u32) -> Verdict + Send>;

/// How the box behaves. May be changed at any time.
pub(super) struct Rules {
    /// In each direction.
    pub(super) delay: Duration,
    /// Share of packets lost, up and down, in thousandths.
    pub(super) loss: [u32; 2],
    /// Nothing passes of the flows that there are; new ones do.
    pub(super) blackhole: Option<Blackhole>,
    /// Which packets pass.
    pub(super) judge: Judge,
}

/// Which flows are swallowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blackhole {
    /// All that began before.
    Old,
    /// All.
    All,
}

impl Default for Rules {
    fn default() -> Self {
        let judge = Box::new(|_: Way, _: &Packet<'_>, _: u32| Verdict::Pass);
        Self { delay: Duration::ZERO, loss: [0, 0], blackhole: None, judge }
    }
}

/// The box.
#[derive(Clone)]
pub(super) struct Middlebox {
    state: Arc<Mutex<State>>,
    /// To the server.
    up: Arc<Queue>,
}

struct State {
    rules: Rules,
    flows: BTreeMap<[SocketAddrV4; 2], Flow>,
    seed: u64,
    seen: [u64; 2],
    /// Where packets go that are for an address of a further device of the client.
    beside: Vec<(Ipv4Addr, Arc<Queue>)>,
}

/// A flow, by its client and its server.
#[derive(Clone, Copy, Default)]
struct Flow {
    payloads: [u32; 2],
    is_muted: bool,
}

/// Packets under way in one direction.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Packets>,
    changed: Condvar,
}

/// In the order of their times, and of their coming where that is the same.
#[derive(Default)]
struct Packets {
    heap: BinaryHeap<Reverse<Waiting>>,
    came: u64,
}

struct Waiting {
    due: Instant,
    number: u64,
    bytes: Vec<u8>,
}

impl Middlebox {
    /// Joins two devices. `seed` decides which packets are lost.
    pub(super) fn between(client: [File; 2], server: [File; 2], seed: u64) -> Self {
        let state = State {
            rules: Rules::default(),
            flows: BTreeMap::new(),
            seed: seed | 1,
            seen: [0; 2],
            beside: Vec::new(),
        };
        let this = Self { state: Arc::new(Mutex::new(state)), up: Arc::default() };
        let (queues, [from_client, to_client], [from_server, to_server]) =
            ([this.up.clone(), Arc::<Queue>::default()], client, server);
        let [up, down] = &queues;
        for (way, device) in [(Way::Up, from_client), (Way::Down, from_server)] {
            let (this, queues) = (this.clone(), queues.clone());
            thread::spawn(move || this.take(way, device, &queues));
        }
        for (queue, device) in [(up, to_server), (down, to_client)] {
            let queue = Arc::clone(queue);
            thread::spawn(move || queue.give(device));
        }
        this
    }

    /// Another device of the client, which has this address.
    pub(super) fn join(&self, [from, to]: [File; 2], address: Ipv4Addr) {
        let down = Arc::<Queue>::default();
        self.lock().beside.push((address, down.clone()));
        let (this, queues) = (self.clone(), [self.up.clone(), down.clone()]);
        thread::spawn(move || this.take(Way::Up, from, &queues));
        thread::spawn(move || down.give(to));
    }

    /// Changes the rules.
    pub(super) fn change(&self, change: impl FnOnce(&mut Rules)) {
        let mut state = self.lock();
        change(&mut state.rules);
        if state.rules.blackhole.is_some() {
            for flow in state.flows.values_mut() {
                flow.is_muted = true;
            }
        }
    }

    /// Packets that came so far, up and down.
    pub(super) fn seen(&self) -> [u64; 2] {
        self.lock().seen
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, way: Way, mut device: File, queues: &[Arc<Queue>; 2]) {
        let [up, down] = queues;
        let (onwards, back) = if way == Way::Up { (up, down) } else { (down, up) };
        let mut buffer = [0; LARGEST];
        // Ends with the device.
        while let Ok(length) = device.read(&mut buffer) {
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            let (verdict, delay, beside) = {
                let mut state = self.lock();
                let (verdict, delay) = state.judge(way, bytes);
                (verdict, delay, state.beside(way, bytes))
            };
            let onwards = beside.as_ref().unwrap_or(onwards);
            match verdict {
                Verdict::Lie(address) => {
                    let lie = Packet::parse(bytes).and_then(|packet| packet.lie(address));
                    lie.into_iter().for_each(|lie| back.put(lie, delay / 2));
                    onwards.put(bytes.to_vec(), delay);
                }
                Verdict::Pass => onwards.put(bytes.to_vec(), delay),
                Verdict::Reset => {
                    // From nearby: it is the box that sends it.
                    let reset = Packet::parse(bytes).and_then(|packet| packet.reset());
                    reset.into_iter().for_each(|reset| back.put(reset, delay / 2));
                }
                Verdict::Lose | Verdict::Mute => {}
            }
        }
        for queue in queues {
            queue.changed.notify_all();
        }
    }
}

impl State {
    /// The queue for a packet to a further device of the client.
    fn beside(&self, way: Way, bytes: &[u8]) -> Option<Arc<Queue>> {
        let packet = Packet::parse(bytes).filter(|_| way == Way::Down)?;
        let (_, queue) = self.beside.iter().find(|(address, _)| address == packet.to.ip())?;
        Some(queue.clone())
    }

    fn judge(&mut self, way: Way, bytes: &[u8]) -> (Verdict, Duration) {
        let delay = self.rules.delay;
        let side = usize::from(way == Way::Down);
        self.seen[side] += 1;
        if self.rules.loss[side] > 0 && self.draw() % 1000 < u64::from(self.rules.loss[side]) {
            return (Verdict::Lose, delay);
        }
        let Some(packet) = Packet::parse(bytes) else {
            return if self.rules.blackhole == Some(Blackhole::All) {
                (Verdict::Lose, delay)
            } else {
                (Verdict::Pass, delay)
            };
        };
        let key = if way == Way::Up { [packet.from, packet.to] } else { [packet.to, packet.from] };
        if packet.is_syn() || self.flows.len() >= MOST_FLOWS {
            // A port that is used again is another flow.
            if self.flows.get(&key).is_none_or(|flow| flow.payloads != [0, 0]) {
                self.flows.remove(&key);
            }
        }
        let flow = self.flows.entry(key).or_default();
        let number = flow.payloads[side];
        if !packet.payload.is_empty() {
            flow.payloads[side] += 1;
        }
        if flow.is_muted || self.rules.blackhole == Some(Blackhole::All) {
            return (Verdict::Lose, delay);
        }
        let verdict = (self.rules.judge)(way, &packet, number);
        flow.is_muted = matches!(verdict, Verdict::Mute | Verdict::Reset);
        (verdict, delay)
    }

    /// Marsaglia's xorshift: any sequence that the seed repeats will do.
    fn draw(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

impl Queue {
    fn put(&self, bytes: Vec<u8>, delay: Duration) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.heap.len() < MOST_WAITING {
            waiting.came += 1;
            let number = waiting.came;
            waiting.heap.push(Reverse(Waiting { due: clock::now() + delay, number, bytes }));
            self.changed.notify_one();
        }
    }

    fn give(&self, mut device: File) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = clock::now();
            match waiting.heap.peek().map(|Reverse(next)| next.due.saturating_duration_since(now)) {
                None => waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(left) if !left.is_zero() => {
                    waiting =
                        self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let Some(Reverse(next)) = waiting.heap.pop() else { continue };
                    drop(waiting);
                    // What the other side does not take, or cannot while it is down, is lost; where it is gone, all is over.
                    let gone = |error: io::Error| error.raw_os_error() != Some(libc::EIO);
                    if device.write_all(&next.bytes).is_err() && device.write(&[]).is_err_and(gone) {
                        return;
                    }
                    waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// Judges by the server's port and whether it is TCP.
pub(super) fn by_port(rules: Vec<(u16, Block)>) -> Judge {
    Box::new(move |way, packet, number| {
        let port = if way == Way::Up { packet.to.port() } else { packet.from.port() };
        let rule = rules.iter().find(|(own, _)| *own == port);
        rule.map_or(Verdict::Pass, |(_, block)| block.verdict(way, packet, number))
    })
}

/// How a protocol is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Not even a connection.
    Silence,
    /// A reset for an answer to the first packet.
    Refusal,
    /// A reset once the client has said something.
    ResetAfterFirst,
    /// Nothing passes once the client has said something.
    MuteAfterFirst,
    /// Nothing of the server passes after its first answer.
    MuteAnswers,
}

impl Block {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::Silence, Self::Refusal, Self::ResetAfterFirst, Self::MuteAfterFirst, Self::MuteAnswers];

    fn verdict(self, way: Way, packet: &Packet<'_>, number: u32) -> Verdict {
        let says_first = way == Way::Up && !packet.payload.is_empty() && number == 0;
        match self {
            // There are no resets of datagrams.
            _ if packet.carrier == Carrier::Udp && self != Self::MuteAnswers => Verdict::Lose,
            Self::Silence => Verdict::Lose,
            Self::Refusal if packet.is_syn() => Verdict::Reset,
            Self::ResetAfterFirst if says_first => Verdict::Reset,
            Self::MuteAfterFirst if says_first => Verdict::Mute,
            Self::MuteAnswers if way == Way::Down && !packet.payload.is_empty() && number > 0 => {
                Verdict::Mute
            }
            _ => Verdict::Pass,
        }
    }
}

/// The result of every scenario.
pub(super) type Outcome = Result<(), Failure>;
