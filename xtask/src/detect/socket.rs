//! The socket that sees packets: the system calls that std lacks. packet(7), socket(7).

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, sock_filter, sock_fprog};

/// What waits in the kernel while this program does not run.
const WAITING: c_int = 64 << 20;
/// How long a read waits.
const PATIENCE: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 50_000 };

/// A socket that reads IPv4 packets to and from a port of a loopback address, from their IP headers on. Of each packet only what arrives is
/// seen, so none is seen twice.
pub(super) fn packet_socket(port: u16) -> io::Result<File> {
    let protocol = u16::try_from(libc::ETH_P_IP).unwrap_or(0).to_be();
    #[expect(unsafe_code, reason = "std has no packet sockets")]
    // SAFETY: takes integers.
    let raw =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, i32::from(protocol)) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "takes over a descriptor that a system call has just made")]
    // SAFETY: the descriptor is open and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut filter = filter(port);
    let program = sock_fprog { len: u16::try_from(filter.len()).unwrap_or(0), filter: filter.as_mut_ptr() };
    set(&socket, libc::SO_ATTACH_FILTER, &program)?;
    set(&socket, libc::SO_RCVTIMEO, &PATIENCE)?;
    // Without the right to so much it is what the system allows.
    if set(&socket, libc::SO_RCVBUFFORCE, &WAITING).is_err() {
        set(&socket, libc::SO_RCVBUF, &WAITING)?;
    }
    Ok(File::from(socket))
}

/// Lets pass what is between 127/8 and has the port at either end; headers without options, which loopback packets have not.
fn filter(port: u16) -> [sock_filter; 10] {
    const SOURCE_NET: u32 = 12;
    const SOURCE_PORT: u32 = 20;
    const DESTINATION_PORT: u32 = 22;
    let load_byte = |at| statement(BPF_LD | BPF_B | BPF_ABS, at, 0, 0);
    let load_half = |at| statement(BPF_LD | BPF_H | BPF_ABS, at, 0, 0);
    let equal = |value, then, otherwise| statement(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise);
    let give = |bytes| statement(BPF_RET | BPF_K, bytes, 0, 0);
    [
        load_byte(0),
        equal(0x45, 0, 6),
        load_byte(SOURCE_NET),
        equal(127, 0, 4),
        load_half(SOURCE_PORT),
        equal(port.into(), 3, 0),
        load_half(DESTINATION_PORT),
        equal(port.into(), 1, 0),
        give(0),
        give(u32::MAX),
    ]
}

fn statement(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k }
}

fn set<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0);
    #[expect(unsafe_code, reason = "std has no such options")]
    // SAFETY: the value is a whole one of the type that the option takes, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast::<c_void>(),
            len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
