//! Large buffers, lent for as long as bytes are in them.
//!
//! One small stock for each thread: a tunnel that is idle holds none, and a busy one gets one that is
//! still warm. Buffers are initialised once, not for each use. Those that nobody needed for a while go.

use std::cell::RefCell;
use std::time::Duration;

use culvert_ssh::BATCH;
use tokio::time::Instant;

/// Room behind a batch, so that the packet which crosses its end needs no second buffer.
const SLACK: usize = 64 * 1024;
/// Buffers kept by a thread.
const STOCK: usize = 8;
/// For how long a buffer is kept that nobody needs; up to twice as long.
pub(crate) const KEEP: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Stock {
    buffers: Vec<Vec<u8>>,
    /// Buffers that nobody has needed since the last trimming.
    unneeded: usize,
    trimmed: Option<Instant>,
}

thread_local! {
    static STOCK_OF_THREAD: RefCell<Stock> = RefCell::default();
}

/// A buffer whose whole length is usable, its content arbitrary.
pub(crate) fn lend() -> Vec<u8> {
    let (buffer, _) = lend_for_a_try();
    needed();
    buffer
}

/// The same where it may turn out that none is needed, and whether it is new. If it is needed, say so with [`needed`]
/// while it is lent; if it is not, and new, there is no need to keep it.
pub(crate) fn lend_for_a_try() -> (Vec<u8>, bool) {
    match STOCK_OF_THREAD.with_borrow_mut(|stock| stock.buffers.pop()) {
        Some(buffer) => (buffer, false),
        None => (vec![0; BATCH + SLACK], true),
    }
}

/// What is lent now is needed.
pub(crate) fn needed() {
    STOCK_OF_THREAD.with_borrow_mut(|stock| stock.unneeded = stock.unneeded.min(stock.buffers.len()));
}

/// Gives a buffer back.
pub(crate) fn give_back(buffer: Vec<u8>) {
    STOCK_OF_THREAD.with_borrow_mut(|stock| {
        if stock.buffers.len() < STOCK && buffer.len() == BATCH + SLACK {
            stock.buffers.push(buffer);
        }
    });
}

/// Lets go of buffers that nobody needed for a while. Each tunnel of the thread that was busy may call it.
pub(crate) fn trim(now: Instant) {
    STOCK_OF_THREAD.with_borrow_mut(|stock| {
        let due = stock.trimmed.is_none_or(|at| now.saturating_duration_since(at) >= KEEP);
        if due {
            stock.trimmed = Some(now);
            let kept = stock.buffers.len().saturating_sub(stock.unneeded);
            stock.buffers.truncate(kept);
            stock.unneeded = kept;
        }
    });
}

/// Lets go of all buffers of this thread, and so of what is in them.
pub(crate) fn forget() {
    // A thread that ends has let go of them already.
    let _ = STOCK_OF_THREAD.try_with(|stock| stock.borrow_mut().buffers.clear());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_goes() {
        let stocked = || STOCK_OF_THREAD.with_borrow(|stock| stock.buffers.len());
        let now = Instant::now();
        let lent: Vec<_> = (0..12).map(|_| lend()).collect();
        lent.into_iter().for_each(give_back);
        assert_eq!(stocked(), STOCK);
        trim(now);
        assert_eq!(stocked(), STOCK, "all were needed");
        trim(now + KEEP / 2);
        give_back(lend());
        trim(now + KEEP);
        assert_eq!(stocked(), 1, "one was needed");
        give_back(lend_for_a_try().0);
        trim(now + 2 * KEEP);
        assert_eq!(stocked(), 0);
    }
}
