//! What a channel's application has not taken yet.
//!
//! In pieces, so that a long queue costs what is in it: one piece of memory that doubles would cost up to twice as
//! much, is copied each time, and stays when the queue is nearly empty. Pieces go as soon as they are taken.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Largest piece made for bytes to come.
const PIECE: usize = 32 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The first piece; none of the others is empty.
    first: Vec<u8>,
    /// Of the first piece, bytes that were taken.
    taken: usize,
    others: VecDeque<Vec<u8>>,
    len: usize,
}

impl Backlog {
    /// Parts of one vectored write.
    pub(crate) const PARTS: usize = 32;

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        // Many small pieces cost more than what is in them: later ones have room for as much as there is already.
        let room = self.len.min(PIECE);
        self.len += bytes.len();
        let last = self.others.back_mut().unwrap_or(&mut self.first);
        let fitting = bytes.len().min(last.capacity() - last.len());
        last.extend_from_slice(&bytes[..fitting]);
        bytes = &bytes[fitting..];
        if bytes.is_empty() {
            return;
        }
        let mut piece = Vec::new();
        piece.reserve_exact(room.max(bytes.len()));
        piece.extend_from_slice(bytes);
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.others.push_back(piece);
        }
    }

    /// The first parts, for a vectored write.
    pub(crate) fn parts(&self) -> Vec<IoSlice<'_>> {
        let first = IoSlice::new(self.first.get(self.taken..).unwrap_or_default());
        let others = self.others.iter().take(Self::PARTS - 1).map(|piece| IoSlice::new(piece));
        std::iter::once(first).chain(others).collect()
    }

    /// Drops bytes from the front; an emptied queue keeps no memory.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.len = self.len.saturating_sub(bytes);
        self.taken += bytes;
        while self.taken >= self.first.len() {
            let Some(next) = self.others.pop_front() else { break };
            self.taken -= self.first.len();
            self.first = next;
        }
        if self.is_empty() {
            *self = Self::default();
        } else if self.others.capacity() > 4 * self.others.len() + 16 {
            self.others.shrink_to_fit();
        }
    }

    /// Moves bytes out until `take` takes none any more; returns how many that were.
    pub(crate) fn take_with(&mut self, mut take: impl FnMut(&[u8]) -> usize) -> usize {
        let mut all = 0;
        while let Some(part) = self.first.get(self.taken..).filter(|part| !part.is_empty()) {
            let taken = take(part).min(part.len());
            if taken == 0 {
                break;
            }
            all += taken;
            self.advance(taken);
        }
        all
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.first.capacity()
            + self.others.iter().map(Vec::capacity).sum::<usize>()
            + self.others.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut backlog = Backlog::default();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut left = &sent[..];
        let mut received = Vec::new();
        for size in (1..).step_by(97) {
            let (piece, rest) = left.split_at(left.len().min(size));
            backlog.push(piece);
            left = rest;
            if size % 3 == 0 {
                let parts = backlog.parts();
                let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                let taken = all.len().min(size / 2);
                received.extend_from_slice(&all[..taken]);
                backlog.advance(taken);
            }
            assert_eq!(backlog.len() + received.len() + left.len(), sent.len());
            if left.is_empty() {
                break;
            }
        }
        backlog.take_with(|part| {
            let taken = part.len().min(1000);
            received.extend_from_slice(&part[..taken]);
            taken
        });
        assert!(received == sent && backlog.is_empty());
        assert_eq!(backlog.capacity(), 0, "an emptied queue keeps no memory");
    }

    #[test]
    fn a_queue_costs_what_is_in_it() {
        let mut backlog = Backlog::default();
        backlog.push(&[1; 12]);
        assert_eq!(backlog.capacity(), 12);
        let mut backlog = Backlog::default();
        for _ in 0..100_000 {
            backlog.push(&[1]);
        }
        assert!(backlog.capacity() < 140_000, "{}", backlog.capacity());
        let mut backlog = Backlog::default();
        for _ in 0..1000 {
            backlog.push(&[1; 32 * 1024]);
        }
        assert!(backlog.capacity() < 33 << 20, "{}", backlog.capacity());
        backlog.advance(999 * 32 * 1024);
        assert!(backlog.capacity() < 40 * 1024, "{}", backlog.capacity());
    }
}
