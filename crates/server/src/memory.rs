//! How much memory this process may spend on data under way, where nobody has set it.

/// The most, however large the machine: it may have more to do.
const MOST: u64 = 512 << 20;

/// A quarter of what the machine has, and no more than [`MOST`].
pub(crate) fn for_windows() -> u64 {
    physical().map_or(MOST, |bytes| (bytes / 4).min(MOST))
}

#[expect(unsafe_code, reason = "the size of the memory is only available from the C library")]
fn physical() -> Option<u64> {
    // SAFETY: these calls only return numbers.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let bytes = u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory() {
        assert!(physical().is_some_and(|bytes| bytes > 64 << 20));
        assert!((16 << 20..=MOST).contains(&for_windows()));
    }
}
