//! The C library's allocator, made to give back what was freed, and to forget it.
//!
//! By default it learns from the first large block that is freed to keep all such for later: a process that once
//! held much for streams that stalled would stay as large as it was then. And what is freed stays where it was until
//! somebody writes over it: keys, passwords and names that were wiped where they were meant to be would live on in
//! the copies that growing texts, parsers and moved values leave behind. What the cryptographic library itself
//! allocates is wiped by it.

use std::alloc::{GlobalAlloc, Layout, System};

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

/// Blocks from here on go back to the system, which wipes them before anybody else sees them: the heap keeps no free room
/// for them. Smaller ones may come from the heap though they are as large as [`OWN_BLOCK`], if there is room in it.
const WIPED: usize = 256 * 1024;

/// The allocator of programs that have secrets: every block is wiped before it is freed, or goes back to the system. For
/// that, call [`give_back_what_is_freed`] first of all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

#[expect(unsafe_code, reason = "allocators are unsafe to be and to call")]
// SAFETY: all blocks come from the system's allocator and go back to it with the layout that they were asked for with.
unsafe impl GlobalAlloc for Forgetful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Buffers are lent far more often than they are filled: wiping them would cost more than all else that is done
        // for a small packet.
        if layout.size() < WIPED {
            // SAFETY: the block is the caller's for that many bytes, who gives it up.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.size() >= WIPED && new_size >= WIPED {
            // SAFETY: the caller's promises are the same. Such a block is moved by moving its pages.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller promises a size that is not 0 and does not overflow with this alignment.
        let new = unsafe { System.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have so many bytes, and they are not the same block; the old one is given up.
            unsafe {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

/// Not left out by the compiler, though nobody reads it.
///
/// # Safety
/// So many bytes may be written there.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "it writes to memory by address")]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::explicit_bzero(block.cast(), size) };
}

/// Not left out by the compiler, though nobody reads it.
///
/// # Safety
/// So many bytes may be written there.
#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "it writes to memory by address")]
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    unsafe { block.write_bytes(0, size) };
    std::hint::black_box(block);
}
