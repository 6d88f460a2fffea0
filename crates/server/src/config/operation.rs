//! Settings of what an operator sees: the port for figures, what load is reported of, and how the log is kept.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::FiguresConfig;
use super::document::{Document, Members};
use super::finding::Problem;
use super::server::within;
use super::server_keys as keys;
use crate::log::{Keeping, Rotation};

/// Dials or look-ups of a tunnel, fewer of which say nothing of it. The reference's.
const LEAST_SAMPLE: u64 = 10;
/// Old log files that are kept where nothing else is set.
const KEPT: u64 = 5;
/// More would be no sign of a mistake only by chance.
const MOST_KEPT: i64 = 1000;
const MEBIBYTE: u64 = 1 << 20;
/// Countries that may have figures of their own.
const MOST_COUNTRIES: usize = 32;

/// Where figures are asked for, and what of.
pub(super) fn figures(document: &mut Document<'_>, members: &Members<'_>) -> FiguresConfig {
    let key = &keys::METRICS_ADDRESS;
    let address = members.text(key).filter(|text| !text.is_empty()).and_then(|text| {
        let problem = match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => return Some(address),
            Ok(_) => Problem::NotLoopback { found: text.to_owned() },
            Err(_) => Problem::NotAnAddressAndPort { found: text.to_owned() },
        };
        document.find_at(key, problem);
        None
    });
    let least = within(document, members, &keys::PEAK_FAILURE_RATE_SAMPLE, i64::MAX);
    FiguresConfig {
        address,
        countries: countries(document, members),
        least_sample: least.unwrap_or(LEAST_SAMPLE),
        by_resolver: members.flag(&keys::LOG_DNS_SERVER_LOAD_METRICS),
        snapshots: members.text(&keys::PROFILE_DIRECTORY).filter(|text| !text.is_empty()).map(PathBuf::from),
    }
}

fn countries(document: &mut Document<'_>, members: &Members<'_>) -> Vec<String> {
    let key = &keys::METRICS_COUNTRIES;
    let named = members.list(key).filter_map(serde_json::Value::as_str).map(str::to_ascii_uppercase);
    let mut countries: Vec<String> = named.collect();
    countries.sort_unstable();
    countries.dedup();
    let is_code = |name: &String| name.len() == 2 && name.bytes().all(|letter| letter.is_ascii_uppercase());
    if !countries.iter().all(is_code) || countries.len() > MOST_COUNTRIES {
        document.find_at(key, Problem::NotCountries { most: MOST_COUNTRIES });
    }
    countries
}

/// How a log file is kept.
pub(super) fn keeping(document: &mut Document<'_>, members: &Members<'_>) -> Keeping {
    let size = within(document, members, &keys::LOG_ROTATE_MEGABYTES, 1 << 20).filter(|size| *size > 0);
    let kept = within(document, members, &keys::LOG_ROTATE_KEEP, MOST_KEPT).unwrap_or(KEPT);
    let kept = u32::try_from(kept).unwrap_or(u32::MAX);
    Keeping {
        rotation: size.map(|size| Rotation { bytes: size.saturating_mul(MEBIBYTE), kept }),
        stops_server: members.flag_set_to(&keys::SKIP_PANICKING_LOG_WRITER, false),
    }
}
