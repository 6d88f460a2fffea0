//! The addresses of a named network interface, from the operating system. Nothing is cached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first address of an interface, IPv4 before IPv6, as the reference chooses; `None` when there is no such
/// interface or it has no address.
pub(super) fn address_of(name: &str) -> io::Result<Option<IpAddr>> {
    let mut addresses = addresses_of(name)?;
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses.first().copied())
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the list of interfaces is only to be had from the C library")]
fn addresses_of(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `first` is a valid place for the list's head; on success the list is freed below, once.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut entry = first;
    while !entry.is_null() {
        // SAFETY: entries of the list are valid until it is freed, `ifa_name` is a C string, and `ifa_addr` is null
        // or points to an address of the size that its family has.
        unsafe {
            let item = &*entry;
            let item_name = std::ffi::CStr::from_ptr(item.ifa_name);
            if item_name.to_bytes() == name.as_bytes() && !item.ifa_addr.is_null() {
                addresses.extend(ip_address(item.ifa_addr));
            }
            entry = item.ifa_next;
        }
    }
    // SAFETY: the list came from getifaddrs and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// # Safety
///
/// `address` must point to a socket address of the size that its family has.
#[cfg(unix)]
#[expect(unsafe_code, reason = "reads a C structure by its family")]
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by the contract of this function.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let octets = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr.to_ne_bytes();
                Some(Ipv4Addr::from(octets).into())
            }
            libc::AF_INET6 => {
                let octets = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                // Link-local addresses need a scope that a listener's address does not carry.
                Some(Ipv6Addr::from(octets)).filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::V6)
            }
            _ => None,
        }
    }
}

#[cfg(not(unix))]
fn addresses_of(_: &str) -> io::Result<Vec<IpAddr>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_and_others_are_not() {
        assert_eq!(address_of("lo").unwrap(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(address_of("no-such-if0").unwrap(), None);
    }
}
