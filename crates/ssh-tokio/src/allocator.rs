//! Makes the C library's allocator give back what was freed.
//!
//! By default it learns from the first large block that is freed to keep all such for later: a process that once
//! held much for streams that stalled would stay as large as it was then.

/// Blocks from here on are the system's own, and go back to it when they are freed: most pieces of what applications
/// have not taken. Buffers that are used over and over are in stock instead.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_BLOCK: libc::c_int = 16 * 1024;
/// Free memory kept at the end of the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 256 * 1024;

/// Call once, before much is allocated. Without effect where the allocator is another.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator's settings are only available from the C library")]
pub fn give_back_what_is_freed() {
    // SAFETY: both only set numbers, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Call once, before much is allocated. Without effect where the allocator is another.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_what_is_freed() {}
