//! Large buffers, lent for as long as bytes are in them.
//!
//! One small stock for each thread: a tunnel that is idle holds none, and a busy one gets one that is
//! still warm. Buffers are initialised once, not for each use.

use std::cell::RefCell;

use culvert_ssh::BATCH;

/// Room behind a batch, so that the packet which crosses its end needs no second buffer.
const SLACK: usize = 64 * 1024;
/// Buffers kept by a thread.
const STOCK: usize = 8;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer whose whole length is usable, its content arbitrary.
pub(crate) fn lend() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BATCH + SLACK])
}

/// Gives a buffer back.
pub(crate) fn give_back(buffer: Vec<u8>) {
    BUFFERS.with_borrow_mut(|stock| {
        if stock.len() < STOCK && buffer.len() == BATCH + SLACK {
            stock.push(buffer);
        }
    });
}
