//! Which way the system would send what goes to an address: on to somebody, or to itself. Asked of the kernel's own tables, which know what no
//! list of interfaces tells: whole networks that a route makes this host's, and addresses that are a moment old. Not the policy.
//! Source: rtnetlink(7), netlink(7).

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Of the header that every message begins with, and of the one behind it in messages about routes.
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const ATTRIBUTE_HEADER: usize = 4;
/// Where a route's header says of what kind the route is.
const KIND: usize = HEADER + 7;
/// Larger than any answer to one question.
const ANSWER: usize = 4096;

/// Whether what is sent to this address stays here, or goes to all or any of a network, rather than to one other host. `Ok(false)` where there is no
/// route: a dial will tell. An error is a host that does not say.
pub(super) fn ends_here(address: IpAddr) -> io::Result<bool> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    // To the kernel, which has answered when this returns, so that nothing is waited for.
    socket.send_to(&question(address), &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, libc::MSG_DONTWAIT)?;
    kind(&answer).map(|kind| kind.is_some_and(|kind| kind != libc::RTN_UNICAST))
}

/// `RTM_GETROUTE` for one address.
fn question(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    // All of these fit: the longest address has 16 bytes.
    let attribute = ATTRIBUTE_HEADER + bytes.len();
    let mut message = Vec::with_capacity(HEADER + ROUTE_HEADER + attribute);
    message.extend(((HEADER + ROUTE_HEADER + attribute) as u32).to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Number and sender, of which there is one each.
    message.extend([0; 8]);
    message.extend([family as u8, (bytes.len() * 8) as u8]);
    message.extend([0; ROUTE_HEADER - 2]);
    message.extend((attribute as u16).to_ne_bytes());
    message.extend(libc::RTA_DST.to_ne_bytes());
    message.extend(bytes);
    message
}

/// The kind of route that an answer tells of; `None` where there is no route.
fn kind(answer: &[u8]) -> io::Result<Option<u8>> {
    let unexpected = || io::Error::from(io::ErrorKind::InvalidData);
    let about = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if about == Some(libc::RTM_NEWROUTE) {
        return answer.get(KIND).copied().map(Some).ok_or_else(unexpected);
    }
    if about.map(libc::c_int::from) != Some(libc::NLMSG_ERROR) {
        return Err(unexpected());
    }
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match code.and_then(i32::checked_neg) {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => Ok(None),
        Some(other) => Err(io::Error::from_raw_os_error(other)),
        None => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_host_knows_itself() {
        for own in ["127.0.0.1", "127.9.8.7"] {
            assert!(ends_here(address(own)).unwrap(), "{own}");
        }
        // Without a route, or with one that leads away.
        assert!(!ends_here(address("8.8.8.8")).unwrap());
        assert!(!ends_here(address("2001:4860:4860::8888")).unwrap());
    }

    #[test]
    fn other_answers_are_no_answers() {
        for answer in [&[][..], &[0; 16], &[0xff; 24]] {
            assert!(kind(answer).is_err(), "{answer:?}");
        }
        let mut error = vec![0; 36];
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        error[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(kind(&error).unwrap_err().raw_os_error(), Some(libc::EPERM));
        error[16..20].copy_from_slice(&(-libc::ENETUNREACH).to_ne_bytes());
        assert_eq!(kind(&error).unwrap(), None);
        error[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(kind(&error).is_err());
    }
}
