//! The few system calls that measuring needs and std lacks: moving bytes without touching them, and killing groups of processes.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

/// The bytes of one `sendfile` and the size of the file it sends from.
pub(crate) const CHUNK: usize = 1 << 20;

/// The time, for measuring.
#[expect(clippy::disallowed_methods, reason = "the bench is about real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A file in memory with [`CHUNK`] bytes that do not compress.
pub(crate) fn memory_file() -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "std has no memory files")]
    // SAFETY: the name is a C string that lives for the program.
    let raw = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    let file = std::fs::File::from(owned(raw)?);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    io::Write::write_all(&mut &file, &bytes)?;
    Ok(file.into())
}

/// Sends up to `count` bytes of the memory file's beginning; how many it was.
pub(crate) fn send_from(to: &impl AsRawFd, file: &OwnedFd, count: usize) -> io::Result<usize> {
    let mut offset = 0;
    #[expect(unsafe_code, reason = "std has no sendfile between arbitrary descriptors")]
    // SAFETY: both descriptors are open, the offset outlives the call.
    let sent = unsafe { libc::sendfile(to.as_raw_fd(), file.as_raw_fd(), &raw mut offset, count.min(CHUNK)) };
    counted(sent)
}

/// Takes up to `count` bytes off a TCP socket without copying them; 0 at the end of the stream.
pub(crate) fn discard(from: &impl AsRawFd, count: usize) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "std has no flags for receiving")]
    // SAFETY: with MSG_TRUNC on TCP the kernel drops the bytes and never writes to the buffer (tcp(7)).
    let taken = unsafe { libc::recv(from.as_raw_fd(), ptr::null_mut(), count, libc::MSG_TRUNC) };
    counted(taken)
}

/// A pipe as the system makes it, to splice through.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [c_int; 2] = [-1; 2];
    #[expect(unsafe_code, reason = "std has no pipes that splice takes")]
    // SAFETY: the array has room for the two descriptors.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let [read, write] = ends;
    Ok((owned(read)?, owned(write)?))
}

/// Moves up to `count` bytes between a socket and a pipe inside the kernel; 0 at the end of the stream.
pub(crate) fn splice(from: &impl AsRawFd, to: &impl AsRawFd, count: usize) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "std has no splice")]
    // SAFETY: both descriptors are open and no offsets are given.
    let moved = unsafe {
        libc::splice(
            from.as_raw_fd(),
            ptr::null_mut(),
            to.as_raw_fd(),
            ptr::null_mut(),
            count,
            libc::SPLICE_F_MOVE,
        )
    };
    counted(moved)
}

/// Process groups that must not outlive this program. 0 is a free place.
static GROUPS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

/// Remembers a group.
pub(crate) fn guard(group: u32) {
    let Ok(group) = i32::try_from(group) else { return };
    for place in &GROUPS {
        if place.compare_exchange(0, group, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Kills a group and forgets it.
pub(crate) fn end(group: u32) {
    let Ok(group) = i32::try_from(group) else { return };
    kill_group(group);
    for place in &GROUPS {
        let _ = place.compare_exchange(group, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Kills every remembered group. Safe in a signal handler.
pub(crate) fn end_all() {
    for place in &GROUPS {
        let group = place.swap(0, Ordering::Relaxed);
        if group > 0 {
            kill_group(group);
        }
    }
}

/// From now on an interrupt or termination of this program kills what it started.
pub(crate) fn end_all_on_signals() {
    extern "C" fn handle(signal: c_int) {
        end_all();
        #[expect(unsafe_code, reason = "the only exit that a signal handler may take")]
        // SAFETY: takes an integer and does not return.
        unsafe {
            libc::_exit(128 + signal)
        }
    }
    let handler: extern "C" fn(c_int) = handle;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        #[expect(unsafe_code, reason = "std has no signal handlers")]
        // SAFETY: the handler calls only kill and _exit, which are async-signal-safe.
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
}

/// Lets the system kill the calling process when its parent dies.
pub(crate) fn die_with_parent() {
    #[expect(unsafe_code, reason = "std has no prctl")]
    // SAFETY: takes integers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Allows this program and its children as many open files as the system does.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "std has no resource limits")]
    // SAFETY: the structure outlives both calls; where they fail the limit stays as it was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Sends a signal to a group.
pub(crate) fn signal_group(group: u32, signal: i32) {
    if let Ok(group) = i32::try_from(group) {
        signal_all(group, signal);
    }
}

fn kill_group(group: i32) {
    signal_all(group, libc::SIGKILL);
}

fn signal_all(group: i32, signal: i32) {
    #[expect(unsafe_code, reason = "std cannot signal a group")]
    // SAFETY: takes integers.
    unsafe {
        libc::kill(-group, signal);
    }
}

fn owned(raw: c_int) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "takes over a descriptor that a system call has just made")]
    // SAFETY: the descriptor is open and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn counted(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
