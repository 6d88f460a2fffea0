//! Free ports for servers that are told their port beforehand.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which systems take ports for outgoing connections (32768 on Linux), so that no flow of a case, here or in
/// another run, can sit on a port between the choice and its use.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address on which nothing listens now, different at each call.
pub(crate) fn free() -> u16 {
    // Two runs of the harness at once start in different places.
    let offset = u16::try_from(std::process::id() % 1_000).unwrap_or(0) * 12;
    loop {
        let port = FIRST + (NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
