//! The addresses of this host, public ones included: a client must not reach services that trust their own machine.
//! Not the policy that uses them, and not learning of changes. Source: getifaddrs(3).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A snapshot of the host's addresses. Debug tells only how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    interfaces: BTreeSet<IpAddr>,
    known_as: BTreeSet<IpAddr>,
}

impl std::fmt::Debug for OwnAddresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnAddresses([{} redacted])", self.interfaces.len() + self.known_as.len())
    }
}

impl OwnAddresses {
    /// The addresses of all interfaces at this moment.
    pub fn of_interfaces() -> io::Result<Self> {
        let interfaces = interfaces()?.into_iter().map(|(_, address)| address.to_canonical()).collect();
        Ok(Self { interfaces, known_as: BTreeSet::new() })
    }

    /// The same at a later moment: interfaces are looked at again.
    pub fn renewed(&self) -> io::Result<Self> {
        Ok(Self { known_as: self.known_as.clone(), ..Self::of_interfaces()? })
    }

    /// Adds an address that clients know this host by, which no interface need have (behind address translation).
    #[must_use]
    pub fn with(mut self, address: IpAddr) -> Self {
        if !address.is_unspecified() {
            self.known_as.insert(address.to_canonical());
        }
        self
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.interfaces.contains(&address) || self.known_as.contains(&address)
    }
}

/// The addresses of one interface, IPv4 first.
pub fn of_interface(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = interfaces()?
        .into_iter()
        .filter(|(interface, _)| interface == name)
        .map(|(_, address)| address)
        .collect();
    addresses.sort();
    Ok(addresses)
}

/// The names of all interfaces, sorted, for a message that must list the choices.
pub fn interface_names() -> io::Result<Vec<String>> {
    let names: BTreeSet<String> = interfaces()?.into_iter().map(|(name, _)| name).collect();
    Ok(names.into_iter().collect())
}

#[expect(unsafe_code, reason = "the list is only available from the C library")]
fn interfaces() -> io::Result<Vec<(String, IpAddr)>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the result.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: getifaddrs gives a list that ends with null and stays valid until freeifaddrs.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: a non-null ifa_addr points at a socket address of the family that it names, and ifa_name is a C string.
        if let Some(address) = unsafe { address_of(entry.ifa_addr) } {
            let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
            found.push((name.to_string_lossy().into_owned(), address));
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and nothing borrows from it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `address` must be null or point at a socket address as long as its family says.
#[expect(unsafe_code, reason = "reads the C library's socket addresses")]
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller's promise.
    let family = unsafe { address.as_ref() }?.sa_family;
    match libc::c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: the caller's promise, for this family.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the caller's promise, for this family.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_loopback_address() {
        let own = OwnAddresses::of_interfaces().unwrap();
        assert!(own.contains(Ipv4Addr::LOCALHOST.into()));
        assert!(!own.contains("8.8.8.8".parse().unwrap()));
        let name = interfaces().unwrap().into_iter().find(|(_, address)| address.is_loopback()).unwrap().0;
        assert!(of_interface(&name).unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(interface_names().unwrap().contains(&name));
        assert!(of_interface("no-such-interface").unwrap().is_empty());
    }

    #[test]
    fn mapped_forms_are_the_same_host() {
        let own = OwnAddresses::default().with("198.51.100.7".parse().unwrap());
        assert!(own.contains("::ffff:198.51.100.7".parse().unwrap()));
        assert_eq!(format!("{own:?}"), "OwnAddresses([1 redacted])");
    }
}
