//! Counts what a test's thread has allocated, so that a test can say how much memory a peer can claim.
//!
//! The crypto library's own memory comes from C and is not counted; a peer has no say in its size.

#![expect(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// The most bytes that stood allocated at a time during `work`, above what stood before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// What stands allocated now, compared with other times only.
pub(crate) fn standing() -> isize {
    NOW.get()
}

/// How often memory was asked for during `work`: its cost in a measure that does not depend on the machine.
pub(crate) fn calls<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = CALLS.get();
    let result = work();
    (result, CALLS.get() - before)
}

fn count(change: isize) {
    // A thread that is ending has no counters any more.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        if change > 0 {
            let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        }
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[test]
fn the_counter_counts() {
    let (bytes, peak) = peak(|| drop(vec![1_u8; 1 << 20]));
    assert_eq!(bytes, ());
    assert!((1 << 20..1 << 21).contains(&peak), "{peak}");
    let before = standing();
    let (kept, calls) = calls(|| [vec![1_u8; 1000], vec![2; 1000]]);
    assert!((2..4).contains(&calls) && standing() - before == 2000, "{calls}");
    drop(kept);
}
