//! Peers that know the protocol and break it, in memory, in both roles.
//!
//! Each case asserts that the connection ends with the fault named, or goes on where the protocol says so; that
//! nothing panics; and how much memory and work the peer could claim. What is tested as one connection holds for the
//! others of a process: connections share nothing but a budget of memory.

mod allocator;
mod channels;
mod damage;
mod exchange;
mod lengths;
mod login;
mod memory;
#[path = "../pair/mod.rs"]
mod pair;
mod peer;
mod phases;
mod requests;
mod work;

use culvert_ssh::kexinit::Role;
use culvert_ssh::{Error, Misbehaviour};

/// What a tunnel may cost before a window has grown.
const TUNNEL: usize = 2 << 20;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// The rule that was broken.
#[track_caller]
fn broken(result: Result<(), Error>) -> Misbehaviour {
    match result {
        Err(Error::Peer(misbehaviour)) => misbehaviour,
        other => unreachable!("a rule was broken, and this came of it: {other:?}"),
    }
}

/// Runs a case and checks what it cost.
#[track_caller]
fn bounded<T>(case: impl FnOnce() -> T) -> T {
    // The host key is the process's, not the tunnel's.
    drop(peer::host_key());
    let (result, peak) = allocator::peak(case);
    assert!(peak < TUNNEL, "{peak} bytes for one tunnel and its peer");
    result
}
