//! A flow as an observer records it: sizes, directions and times of its first segments, and a little of its beginning.

use std::time::Duration;

/// What a TCP segment carries on most paths: 1500 bytes less two headers and a timestamp option (RFC 7323 section 3).
pub const FULL_SEGMENT: usize = 1448;
/// Segments kept; no detector looks further.
const MOST_SEGMENTS: usize = 200;
/// Bytes kept of each direction's beginning: enough for a ClientHello.
const MOST_BYTES: usize = 8192;

/// What carries the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Segments of a stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// One segment or datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub direction: Direction,
    /// Bytes of payload.
    pub len: usize,
    /// Since the flow began.
    pub at: Duration,
    /// Whether a TLS ChangeCipherSpec record begins in it (RFC 8446 appendix D.4).
    pub changes_cipher: bool,
}

/// The beginning of a flow.
#[derive(Clone, Debug)]
pub struct Flow {
    carrier: Carrier,
    segments: Vec<Segment>,
    up: Vec<u8>,
    down: Vec<u8>,
    first: usize,
}

impl Flow {
    /// A flow of which nothing is recorded yet.
    #[must_use]
    pub fn new(carrier: Carrier) -> Self {
        Self { carrier, segments: Vec::new(), up: Vec::new(), down: Vec::new(), first: 0 }
    }

    /// Records what was sent at once. A stream's bytes are cut into full segments and a rest, as they are on the way.
    pub fn record(&mut self, direction: Direction, at: Duration, bytes: &[u8]) {
        let most = if self.carrier == Carrier::Tcp { FULL_SEGMENT } else { bytes.len().max(1) };
        for piece in bytes.chunks(most) {
            if self.segments.len() >= MOST_SEGMENTS {
                return;
            }
            let changes_cipher = piece.windows(CHANGE_CIPHER.len()).any(|window| window == CHANGE_CIPHER);
            self.segments.push(Segment { direction, len: piece.len(), at, changes_cipher });
            let kept = if direction == Direction::Up { &mut self.up } else { &mut self.down };
            if direction == Direction::Up && kept.is_empty() {
                self.first = piece.len();
            }
            let room = MOST_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        }
    }

    /// What carries it.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// In the order in which they were recorded.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The client's first segment or datagram.
    #[must_use]
    pub fn first_segment(&self) -> &[u8] {
        self.up.get(..self.first).unwrap_or(&self.up)
    }

    /// What the client sent first, over as many segments as are kept.
    #[must_use]
    pub fn beginning(&self) -> &[u8] {
        &self.up
    }
}

const CHANGE_CIPHER: [u8; 6] = [0x14, 3, 3, 0, 1, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_and_datagrams_are_not() {
        let mut flow = Flow::new(Carrier::Tcp);
        flow.record(Direction::Up, Duration::ZERO, &[1; 3000]);
        let lens: Vec<_> = flow.segments().iter().map(|segment| segment.len).collect();
        assert_eq!(lens, [1448, 1448, 104]);
        assert_eq!((flow.first_segment().len(), flow.beginning().len()), (1448, 3000));
        let mut flow = Flow::new(Carrier::Udp);
        flow.record(Direction::Up, Duration::ZERO, &[1; 3000]);
        assert_eq!(flow.segments().len(), 1);
    }
}
