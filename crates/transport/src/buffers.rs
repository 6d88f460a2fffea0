//! Buffers for streams that change bytes on their way, lent for as long as bytes are in them: a connection that is idle holds
//! none, and a busy one gets one that is still warm.

use std::cell::RefCell;

/// Bytes of a buffer. Holds whatever a transport must see whole, and enough for large reads and writes.
pub(crate) const LEN: usize = 160 * 1024;
/// Buffers of each kind kept by a thread.
const STOCK: usize = 8;

#[derive(Default)]
struct Stock {
    /// Their whole length is usable.
    whole: Vec<Vec<u8>>,
    /// They have room and no content.
    empty: Vec<Vec<u8>>,
}

thread_local! {
    static STOCK_OF_THREAD: RefCell<Stock> = RefCell::default();
}

/// A buffer of [`LEN`] bytes with arbitrary content, for reading into.
pub(crate) fn lend_whole() -> Vec<u8> {
    STOCK_OF_THREAD.with_borrow_mut(|stock| stock.whole.pop()).unwrap_or_else(|| vec![0; LEN])
}

/// A buffer without content and with room for [`LEN`] bytes, for appending to.
pub(crate) fn lend_empty() -> Vec<u8> {
    STOCK_OF_THREAD.with_borrow_mut(|stock| stock.empty.pop()).unwrap_or_else(|| Vec::with_capacity(LEN))
}

/// Gives a buffer back. Others than lent ones, and lent ones that have grown, are freed.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() != LEN {
        return;
    }
    STOCK_OF_THREAD.with_borrow_mut(|stock| {
        if buffer.len() == LEN {
            if stock.whole.len() < STOCK {
                stock.whole.push(buffer);
            }
        } else if stock.empty.len() < STOCK {
            buffer.clear();
            stock.empty.push(buffer);
        }
    });
}
