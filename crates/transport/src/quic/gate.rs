//! What a server's port lets in: packets of clients. Whether a flow is hidden is known from its packets; who begins a connection must have proved
//! in its ClientHello that it has the key. Nobody else costs memory, is answered, or reaches the QUIC library. Source: TRANSPORTS.md 3.3, 3.5.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::cids::{Cids, LEN as CID_LEN};
use super::initial::{Cid, HelloStart, Initial, Progress};
use super::wire::{Flow, Key, has_long_header, is_initial};
use crate::Remote;
use crate::tls::{MESSAGE_LEN, PassthroughKey};

/// How long a flow is what it was. TRANSPORTS.md 3.5.
const STALE: Duration = Duration::from_secs(300);
/// Flows that are known; a flow costs about 100 bytes.
const MOST_FLOWS: usize = 65_536;
/// Connections that began not long ago.
const MOST_ADMITTED: usize = 16_384;
/// ClientHellos of which only a later part has come, and packets of each.
const MOST_PARTIAL: usize = 64;
const MOST_PACKETS: usize = 3;

/// What a server thinks of those who begin connections.
pub trait Admission: Send + Sync {
    /// Whether a proof may be used. The same from the same address and port may come again, from no other.
    fn admit(&self, proof: &[u8; MESSAGE_LEN], peer: Remote) -> bool;

    /// Somebody was not let in.
    fn refused(&self, why: Refused);
}

/// Why somebody was not let in. All get silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No packet of a client.
    Garbage,
    /// A ClientHello without the key's proof.
    Forged,
    /// One whose proof came before.
    Replayed,
}

/// A datagram that came before it could be judged, now let in.
pub(super) type Late = (SocketAddr, Vec<u8>);

/// The gate of one port.
pub(super) struct Gate {
    key: Key,
    proof: PassthroughKey,
    cids: Cids,
    admission: Box<dyn Admission>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    flows: HashMap<SocketAddr, Known>,
    admitted: Admitted,
    partial: VecDeque<Partial>,
    /// Nobody is let in any more.
    closed: bool,
}

struct Known {
    flow: Flow,
    heard: Instant,
}

/// Who may begin which connection. The oldest make room.
#[derive(Default)]
struct Admitted {
    flows: HashMap<(SocketAddr, Cid), Flow>,
    order: VecDeque<(SocketAddr, Cid)>,
}

/// A ClientHello whose first part has not come yet.
struct Partial {
    from: SocketAddr,
    to: Cid,
    hello: HelloStart,
    packets: Vec<Vec<u8>>,
}

impl Gate {
    pub(super) fn new(key_text: &str, cids: Cids, admission: Box<dyn Admission>) -> Self {
        Self {
            key: Key::new(key_text),
            proof: PassthroughKey::new(key_text, true),
            cids,
            admission,
            tables: Mutex::default(),
        }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody in any more who is not in yet. A proof that comes now may be used at the next server in this place.
    pub(super) fn close(&self) {
        self.tables().closed = true;
    }

    /// How packets to this address leave; `None`: not at all.
    pub(super) fn flow(&self, to: SocketAddr) -> Option<Flow> {
        self.tables().flows.get(&to).map(|known| known.flow)
    }

    /// How the packets of a connection travel that may begin.
    pub(super) fn admitted(&self, from: SocketAddr, to: &[u8]) -> Option<Flow> {
        self.tables().admitted.flows.get(&(from, Cid::new(to)?)).copied()
    }

    /// Where in a received datagram the packet is that is let in. What is let in only now, because of it, is added to `late`.
    pub(super) fn receive(
        &self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Instant,
        late: &mut VecDeque<Late>,
    ) -> Option<Range<usize>> {
        let mut tables = self.tables();
        let known = match (tables.known(from, now), self.is_plain(datagram)) {
            // A plain client whose address has changed.
            (Flow::New, true) if !has_long_header(datagram) => Flow::Plain,
            // An address that a plain client had before this one.
            (Flow::Plain, false) => Flow::New,
            (known, _) => known,
        };
        let mut flow = known;
        let packet = flow.receive(&self.key, datagram);
        let bytes = packet.clone().and_then(|packet| datagram.get(packet)).unwrap_or_default();
        let verdict = match bytes {
            [] => Err(Refused::Garbage),
            bytes if is_initial(bytes) => self.judge(&mut tables, (from, flow), bytes, late),
            // Of other versions nothing is said.
            [_, 0, 0, 0, 1, ..] if has_long_header(bytes) && known != Flow::New => Ok(true),
            _ if has_long_header(bytes) => Err(Refused::Garbage),
            _ if known != Flow::New || self.is_for_own(bytes) => Ok(true),
            _ => Err(Refused::Garbage),
        };
        match verdict {
            Ok(let_in) => {
                let remembered = let_in && tables.remember(from, flow, now);
                packet.filter(|_| remembered)
            }
            Err(why) => {
                drop(tables);
                if known == Flow::New || why != Refused::Garbage {
                    self.admission.refused(why);
                }
                None
            }
        }
    }

    /// Whether the datagram is a packet of version 1 that is not hidden, as far as can be told.
    fn is_plain(&self, datagram: &[u8]) -> bool {
        matches!(datagram, [first, 0, 0, 0, 1, ..] if first & 0xC0 == 0xC0) || self.is_for_own(datagram)
    }

    /// Whether the packet has a short header and goes to a connection of ours. RFC 9000 section 17.3.
    fn is_for_own(&self, packet: &[u8]) -> bool {
        let to = packet.get(1..=CID_LEN);
        packet.first().is_some_and(|first| first & 0xC0 == 0x40) && to.is_some_and(|to| self.cids.is_own(to))
    }

    /// Whether an Initial is let in; `false`: it may be later.
    fn judge(
        &self,
        tables: &mut Tables,
        (from, flow): (SocketAddr, Flow),
        packet: &[u8],
        late: &mut VecDeque<Late>,
    ) -> Result<bool, Refused> {
        let initial = Initial::parse(packet).ok_or(Refused::Garbage)?;
        let to = initial.destination;
        if tables.admitted.flows.contains_key(&(from, to)) || self.cids.is_own(to.as_bytes()) {
            return Ok(true);
        }
        if tables.closed {
            return Ok(false);
        }
        let at = tables.partial.iter().position(|partial| partial.from == from && partial.to == to);
        let mut hello =
            at.and_then(|at| tables.partial.get(at)).map(|it| it.hello.clone()).unwrap_or_default();
        initial.read_into(&mut hello).ok_or(Refused::Garbage)?;
        let proof = match hello.progress() {
            Progress::Random(random) => random,
            Progress::Other => return Err(Refused::Garbage),
            Progress::Incomplete => {
                tables.keep(at, Partial { from, to, hello, packets: vec![packet.to_vec()] });
                return Ok(false);
            }
        };
        self.check(&proof, from)?;
        if let Some(partial) = at.and_then(|at| tables.partial.remove(at)) {
            late.extend(partial.packets.into_iter().map(|packet| (from, packet)));
        }
        tables.admitted.add((from, to), flow);
        Ok(true)
    }

    fn check(&self, proof: &[u8; MESSAGE_LEN], from: SocketAddr) -> Result<(), Refused> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if !self.proof.verifies(proof, i64::try_from(now).unwrap_or(i64::MAX)) {
            return Err(Refused::Forged);
        }
        if self.admission.admit(proof, Remote(from)) { Ok(()) } else { Err(Refused::Replayed) }
    }
}

impl Tables {
    fn known(&self, from: SocketAddr, now: Instant) -> Flow {
        let known = self.flows.get(&from).filter(|known| now.duration_since(known.heard) < STALE);
        known.map(|known| known.flow).unwrap_or_default()
    }

    /// Whether there is room.
    fn remember(&mut self, from: SocketAddr, flow: Flow, now: Instant) -> bool {
        if self.flows.len() >= MOST_FLOWS && !self.flows.contains_key(&from) {
            self.flows.retain(|_, known| now.duration_since(known.heard) < STALE);
            if self.flows.len() >= MOST_FLOWS {
                return false;
            }
        }
        self.flows.insert(from, Known { flow, heard: now });
        true
    }

    /// Keeps a packet that cannot be judged yet, with those before it.
    fn keep(&mut self, at: Option<usize>, partial: Partial) {
        match at.and_then(|at| self.partial.get_mut(at)) {
            Some(before) => {
                before.hello = partial.hello;
                before.packets.extend(partial.packets);
                before.packets.truncate(MOST_PACKETS);
            }
            None => {
                if self.partial.len() >= MOST_PARTIAL {
                    self.partial.pop_front();
                }
                self.partial.push_back(partial);
            }
        }
    }
}

impl Admitted {
    fn add(&mut self, who: (SocketAddr, Cid), flow: Flow) {
        if self.order.len() >= MOST_ADMITTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.flows.remove(&oldest);
        }
        self.flows.insert(who, flow);
        self.order.push_back(who);
    }
}
