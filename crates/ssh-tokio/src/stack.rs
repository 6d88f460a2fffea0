//! What calls leave on a thread's stack when they return: among it keys that were passed on, moved into place, or worked with.

/// More than any computation with keys needs.
const DEPTH: usize = 128 * 1024;

/// Writes over what calls that have returned have left below the caller.
#[inline(never)]
pub fn forget_calls() {
    let mut below = [0_u8; DEPTH];
    // Nobody reads it, but it must be there.
    std::hint::black_box(&mut below);
}
