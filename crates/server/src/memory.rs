//! How much memory this process may spend on data under way, where nobody has set it.

/// The most, however large the machine: it may have more to do.
const MOST: u64 = 512 << 20;

/// A quarter of what there is, and no more than [`MOST`].
pub(crate) fn for_windows(all: Option<u64>) -> u64 {
    all.map_or(MOST, |bytes| (bytes / 4).min(MOST))
}

/// What the machine has.
#[expect(unsafe_code, reason = "the size of the memory is only available from the C library")]
pub(crate) fn physical() -> Option<u64> {
    // SAFETY: these calls only return numbers.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let bytes = u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)?;
    (bytes > 0).then_some(bytes)
}

/// Bytes of a page.
#[expect(unsafe_code, reason = "the size of a page is only available from the C library")]
pub(crate) fn page_size() -> Option<u64> {
    // SAFETY: this call only returns a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).ok().filter(|size| *size > 0)
}

/// Keeps this process from getting pages of another size, of which most may never be touched: limits on memory would count them.
#[expect(unsafe_code, reason = "only the C library can ask for it")]
pub(crate) fn only_small_pages() {
    // SAFETY: this call takes no pointers. A kernel without such pages says so, which is as good.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory() {
        assert!(physical().is_some_and(|bytes| bytes > 64 << 20));
        assert!((16 << 20..=MOST).contains(&for_windows(physical())));
    }
}
