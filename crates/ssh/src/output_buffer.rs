//! Sealed bytes on their way to the stream.
//!
//! The storage is initialised once and reused, so that packets can be filled by the reader of a socket and
//! sealed where they lie. It is lent by the driver for as long as bytes are in it.

/// A queue of bytes in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Storage kept by a connection that has nothing to send.
const KEPT: usize = 4096;

impl OutputBuffer {
    /// What waits to be written.
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Bytes that wait to be written.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// `bytes` were written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.start = self.end.min(self.start.saturating_add(bytes));
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Appends `len` bytes of storage with arbitrary content and returns them.
    pub(crate) fn extend(&mut self, len: usize) -> &mut [u8] {
        let needed = self.end + len;
        if self.bytes.len() < needed {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let needed = self.end + len;
            if self.bytes.len() < needed {
                self.bytes.resize(needed.max(2 * self.bytes.len()), 0);
            }
        }
        let from = self.end;
        self.end += len;
        self.bytes.get_mut(from..self.end).unwrap_or_default()
    }

    /// Takes back the last `len` bytes.
    pub(crate) fn retract(&mut self, len: usize) {
        self.end = self.start.max(self.end.saturating_sub(len));
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.extend(bytes.len()).copy_from_slice(bytes);
    }

    /// Replaces small storage by larger; gives back whichever is not used.
    pub(crate) fn lend(&mut self, mut storage: Vec<u8>) -> Vec<u8> {
        if storage.len() > self.bytes.len() && self.len() <= storage.len() {
            let pending = self.len();
            if let Some(head) = storage.get_mut(..pending) {
                head.copy_from_slice(self.pending());
            }
            self.start = 0;
            self.end = pending;
            std::mem::swap(&mut self.bytes, &mut storage);
        }
        storage
    }

    /// Gives large storage back when nothing is in it.
    pub(crate) fn reclaim(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.bytes.len() > KEPT).then(|| std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_the_storage() {
        let mut buffer = OutputBuffer::default();
        buffer.push(b"abc");
        buffer.push(b"def");
        buffer.advance(2);
        assert!(buffer.lend(vec![0; 64]).len() < 64, "the larger storage is kept");
        buffer.push(&[b'x'; 100]);
        buffer.retract(99);
        assert_eq!(buffer.pending(), b"cdefx");
        assert_eq!(buffer.reclaim(), None);
        buffer.advance(5);
        assert!(buffer.is_empty());
    }
}
