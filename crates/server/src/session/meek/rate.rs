//! How often one address may begin sessions, where the traffic rules say so. Sessions that exist are never affected. Source: TRANSPORTS.md 2.5.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::rules::MeekRate;

/// Addresses that are remembered. One that is forgotten may begin a session at once.
const MOST: usize = 65_536;
/// A longer wait is for ever, and could not be told by the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Hosts with IPv6 that share a limit: those of one customer.
const SHARED_BITS: u32 = 56;

/// When each address may begin its next session.
#[derive(Default)]
pub(super) struct RateLimiter {
    next: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimiter {
    /// Whether a session may begin now, which then counts.
    pub(super) fn allows(&self, rate: &MeekRate, address: IpAddr, now: Instant) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.len() >= MOST {
            next.retain(|_, next| *next > now);
        }
        if next.len() >= MOST {
            next.clear();
        }
        let next = next.entry(shared(address)).or_insert(now);
        if *next > now {
            return false;
        }
        *next = now + rate.every.min(LONGEST);
        true
    }
}

fn shared(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - SHARED_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_in_all_time_is_a_rate_too() {
        let rate = MeekRate { every: Duration::MAX, ..MeekRate::default() };
        let (limiter, now, address) = (RateLimiter::default(), Instant::now(), [192, 0, 2, 1].into());
        assert!(limiter.allows(&rate, address, now));
        assert!(!limiter.allows(&rate, address, now + Duration::from_secs(9_999_999)));
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let every = Duration::from_secs(10);
        let rate = MeekRate { every, ..MeekRate::default() };
        let limiter = RateLimiter::default();
        let now = Instant::now();
        let allows = |address: &str, seconds| {
            let now = now + Duration::from_secs(seconds);
            limiter.allows(&rate, address.parse().unwrap(), now)
        };
        assert!(allows("192.0.2.1", 0) && !allows("192.0.2.1", 9) && allows("192.0.2.2", 9));
        assert!(allows("192.0.2.1", 10));
        assert!(allows("2001:db8::1", 0) && !allows("2001:db8::ff:0:1", 1) && allows("2001:db8:0:100::", 1));
    }
}
