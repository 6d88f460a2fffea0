//! One set of rules: what it sets, and nothing else.

use super::keys;
use super::section::Section;
use crate::rules::{RateChanges, RuleChanges};

pub(super) fn read(section: &mut Section<'_, '_, '_>) -> RuleChanges {
    let mut number = |key| section.count(key).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let most_dialing = number(&keys::MOST_DIALING);
    let most_tcp = number(&keys::MOST_FLOWS);
    let most_udp = number(&keys::MOST_UDP_FLOWS);
    RuleChanges {
        rates: section.inside(&keys::RATE_LIMITS, rates).unwrap_or_default(),
        dial_milliseconds: section.count(&keys::DIAL_TIMEOUT),
        idle_tcp_milliseconds: section.count(&keys::IDLE_TIMEOUT),
        idle_udp_milliseconds: section.count(&keys::IDLE_UDP_TIMEOUT),
        most_dialing,
        most_tcp,
        most_udp,
        allow_tcp_ports: section.ports(&keys::ALLOW_TCP_PORTS),
        allow_udp_ports: section.ports(&keys::ALLOW_UDP_PORTS),
        disallow_tcp_ports: section.ports(&keys::DISALLOW_TCP_PORTS),
        disallow_udp_ports: section.ports(&keys::DISALLOW_UDP_PORTS),
        allow_subnets: section.subnets(&keys::ALLOW_SUBNETS),
        allow_asns: section.asns(&keys::ALLOW_ASNS),
        disallow_subnets: section.subnets(&keys::DISALLOW_SUBNETS),
        disallow_asns: section.asns(&keys::DISALLOW_ASNS),
        disable_discovery: section.flag(&keys::DISABLE_DISCOVERY),
    }
}

fn rates(section: &mut Section<'_, '_, '_>) -> RateChanges {
    RateChanges {
        read_unthrottled_bytes: section.count(&keys::READ_FREE),
        read_bytes_per_second: section.count(&keys::READ_RATE),
        write_unthrottled_bytes: section.count(&keys::WRITE_FREE),
        write_bytes_per_second: section.count(&keys::WRITE_RATE),
        close_after_exhausted: section.flag(&keys::CLOSE),
        establishment_read_bytes_per_second: section.count(&keys::EARLY_READ_RATE),
        establishment_write_bytes_per_second: section.count(&keys::EARLY_WRITE_RATE),
        unthrottle_first_tunnel_only: section.flag(&keys::FIRST_ONLY),
    }
}
