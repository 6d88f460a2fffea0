//! The socket that the QUIC library is given: it hides what leaves and reveals what arrives, several packets at a time as the system does.
//! Source: TRANSPORTS.md 3.4.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use culvert_obfuscation::Prng;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

use super::cids::ResetMark;
use super::draws::Draws;
use super::gate::{Gate, Late};
use super::wire::{Flow, Key, max_padding};

/// The most that stands in place of a packet in a decoy. TRANSPORTS.md 3.4.
const MOST_DECOY: i64 = 1280;

/// Whose packets pass.
pub(super) enum Side {
    /// A client's, all of them hidden.
    Client { key: Key, decoys: Box<Mutex<Decoys>> },
    /// A server's.
    Server { gate: Arc<Gate>, resets: ResetMark },
}

/// Packets that mean nothing.
pub(super) struct Decoys {
    pub(super) left: i64,
    pub(super) prng: Prng,
}

/// The socket.
pub(super) struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    side: Side,
    sending: Mutex<Sending>,
    /// Received, but not where the library's buffers had room for it.
    late: Mutex<VecDeque<Late>>,
}

struct Sending {
    draws: Draws,
    datagrams: Vec<u8>,
}

impl Socket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, side: Side, draws: Draws) -> Self {
        let sending = Mutex::new(Sending { draws, datagrams: Vec::new() });
        Self { inner, side, sending, late: Mutex::default() }
    }

    fn send_hidden(&self, key: &Key, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let segment_size = sending.seal(key, transmit);
        self.inner.try_send(&Transmit {
            destination: transmit.destination,
            ecn: None,
            contents: &sending.datagrams,
            segment_size,
            src_ip: transmit.src_ip,
        })
    }

    /// Where the packet of a received datagram now is.
    fn open(&self, from: SocketAddr, datagram: &mut [u8], late: &mut VecDeque<Late>) -> Option<Range<usize>> {
        match &self.side {
            Side::Client { key, decoys } => {
                self.perhaps_send_decoy(key, decoys, from);
                Flow::Hidden.receive(key, datagram)
            }
            Side::Server { gate, .. } => gate.receive(from, datagram, Instant::now(), late),
        }
    }

    fn perhaps_send_decoy(&self, key: &Key, decoys: &Mutex<Decoys>, to: SocketAddr) {
        let mut decoys = decoys.lock().unwrap_or_else(PoisonError::into_inner);
        if decoys.left == 0 || !decoys.prng.flip_coin() {
            return;
        }
        decoys.left -= 1;
        let len = usize::try_from(decoys.prng.range(1, MOST_DECOY)).unwrap_or(1);
        let contents = vec![0; len];
        let transmit =
            Transmit { destination: to, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        // One that cannot be sent is not missed.
        let _ = self.send_hidden(key, &transmit);
    }

    /// Reveals the datagrams of one buffer and puts the packets together at its beginning, where they have one size but for the last.
    fn open_all(&self, buffer: &mut [u8], meta: &mut RecvMeta, late: &mut VecDeque<Late>) {
        meta.ecn = meta.ecn.filter(|_| self.keeps_ecn(meta.addr));
        let received = meta.len.min(buffer.len());
        let stride = meta.stride.max(1);
        let (mut at, mut end, mut size, mut closed) = (0, 0, 0, false);
        while at < received {
            let next = (at + stride).min(received);
            let packet = buffer.get_mut(at..next).and_then(|datagram| self.open(meta.addr, datagram, late));
            let Some(packet) = packet.map(|packet| at + packet.start..at + packet.end) else {
                at = next;
                continue;
            };
            at = next;
            let len = packet.len();
            if end == 0 {
                size = len;
            }
            if closed || len > size {
                let copy = buffer.get(packet).unwrap_or_default().to_vec();
                late.push_back((meta.addr, copy));
                continue;
            }
            closed = len < size;
            if packet.start != end {
                buffer.copy_within(packet, end);
            }
            end += len;
        }
        meta.len = end;
        meta.stride = size.max(1);
    }

    /// Marks of congestion mean nothing of packets that are sent without.
    fn keeps_ecn(&self, from: SocketAddr) -> bool {
        match &self.side {
            Side::Client { .. } => false,
            Side::Server { gate, .. } => gate.flow(from) == Some(Flow::Plain),
        }
    }
}

/// Hands over what had no room before.
fn deliver(late: &mut VecDeque<Late>, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
    let mut delivered = 0;
    for (buffer, meta) in buffers.iter_mut().zip(metas) {
        let Some((addr, packet)) = late.pop_front() else { break };
        let len = packet.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(&packet) {
            *to = *from;
        }
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (addr, len, len.max(1));
        delivered += 1;
    }
    delivered
}

impl Sending {
    /// Hides what is to be sent; the size of the segments, if there are several. They have equal padding, and the last one no more than
    /// keeps it no longer than they are, because that is how the system takes several at once.
    fn seal(&mut self, key: &Key, transmit: &Transmit<'_>) -> Option<usize> {
        self.datagrams.clear();
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let padding = self.draws.up_to(max_padding(size));
        let mut segment = None;
        for packet in transmit.contents.chunks(size) {
            let room = size + usize::from(padding) - packet.len();
            let padding = match packet.len() == size {
                true => padding,
                false => {
                    self.draws.up_to(max_padding(packet.len()).min(u8::try_from(room).unwrap_or(u8::MAX)))
                }
            };
            key.seal(packet, padding, &mut self.draws, &mut self.datagrams);
            segment.get_or_insert(self.datagrams.len());
        }
        segment.filter(|_| transmit.segment_size.is_some())
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match &self.side {
            Side::Client { key, .. } => self.send_hidden(key, transmit),
            // A reset would tell whoever repeats an old packet what listens here.
            Side::Server { resets, .. } if resets.ends(transmit.contents) => Ok(()),
            Side::Server { gate, .. } => match gate.flow(transmit.destination) {
                Some(Flow::Hidden) => self.send_hidden(gate.key(), transmit),
                Some(Flow::Plain) => self.inner.try_send(transmit),
                Some(Flow::New) | None => Ok(()),
            },
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if !late.is_empty() {
            return Poll::Ready(Ok(deliver(&mut late, buffers, metas)));
        }
        let received = ready!(self.inner.poll_recv(cx, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas).take(received) {
            self.open_all(buffer, meta, &mut late);
        }
        // Also when nothing is left of it: the library then lets others run, however much garbage there is.
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted QUIC socket]")
    }
}
