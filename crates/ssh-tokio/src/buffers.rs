//! Large buffers, lent for as long as bytes are in them.
//!
//! One small stock for each thread: a tunnel that is idle holds none, and a busy one gets one that is
//! still warm.

use std::cell::RefCell;

/// Bytes read or sealed at a time: system calls, not ciphers, cost most below this.
pub(crate) const BATCH: usize = 256 * 1024;
/// Room behind a batch, so that the packet which crosses its end needs no second buffer.
const SLACK: usize = 64 * 1024;
/// Buffers kept by a thread.
const STOCK: usize = 4;

thread_local! {
    static FILLED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static EMPTY: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into: its whole length is usable.
pub(crate) fn for_reading() -> Vec<u8> {
    FILLED.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BATCH + SLACK])
}

/// Gives a reading buffer back.
pub(crate) fn done_reading(buffer: Vec<u8>) {
    FILLED.with_borrow_mut(|stock| {
        if stock.len() < STOCK && buffer.len() == BATCH + SLACK {
            stock.push(buffer);
        }
    });
}

/// An empty buffer to append to.
pub(crate) fn for_writing() -> Vec<u8> {
    EMPTY.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BATCH + SLACK))
}

/// Gives a writing buffer back.
pub(crate) fn done_writing(mut buffer: Vec<u8>) {
    buffer.clear();
    EMPTY.with_borrow_mut(|stock| {
        if stock.len() < STOCK && buffer.capacity() <= 2 * (BATCH + SLACK) {
            stock.push(buffer);
        }
    });
}
