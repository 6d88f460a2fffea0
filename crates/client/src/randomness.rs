//! The one place where the client takes randomness from the system.

use aws_lc_rs::rand::fill;

/// Random bytes. The system's generator does not fail on any platform that can run this; if it did, going
/// on with predictable bytes would expose the user, so the process ends.
#[expect(clippy::panic, reason = "predictable keys would be worse than no tunnel")]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if fill(&mut bytes).is_err() {
        panic!("the operating system gives no randomness");
    }
    bytes
}
