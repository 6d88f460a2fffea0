//! `LoadLimits`: when this server takes no more tunnels by itself. Ours; the reference needs a script beside it.
//!
//! Limits unless set: memory at 95 %, since beyond it the system may end this process and all tunnels with it; half a million tunnels, as the
//! reference; no others. Processors that have much to do still serve everybody, only slower, and a host is meant to be used: who wants a limit
//! there best sets the delay, which is what people feel.

use std::time::Duration;

use culvert_protocol::json_position::Step;

use super::document::{Document, Members};
use super::finding::Problem;
use super::schema::Key;
use super::server_keys as keys;

/// The most tunnels, whatever is set: the reference's.
const MOST_TUNNELS: usize = 500_000;
const MEMORY_PERCENT: u8 = 95;

/// Limits; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// Of the processors that this process may use.
    pub cpu_percent: Option<u8>,
    /// Of the memory of the host, or of a control group that has less.
    pub memory_percent: Option<u8>,
    pub tunnels: usize,
    /// How long a step of a handshake waits for a processor.
    pub handshake_delay: Option<Duration>,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            cpu_percent: None,
            memory_percent: Some(MEMORY_PERCENT),
            tunnels: MOST_TUNNELS,
            handshake_delay: None,
        }
    }
}

/// 0 is no limit.
pub(super) fn load_limits(document: &mut Document<'_>, members: &Members<'_>) -> LoadLimits {
    let mut limits = LoadLimits::default();
    let Some(members) = members.members(&keys::LOAD_LIMITS) else { return limits };
    let mut value = |key: &Key, most: i64| {
        let found = members.integer(key)?;
        if !(0..=most).contains(&found) {
            let path = [keys::LOAD_LIMITS.name, key.name].map(Step::from);
            document.find(&path, Problem::OutOfRange { found, least: 0, most });
        }
        u64::try_from(found).ok()
    };
    let percent = |value: u64| u8::try_from(value).ok().filter(|percent| *percent > 0);
    if let Some(found) = value(&keys::LOAD_CPU_PERCENT, 100) {
        limits.cpu_percent = percent(found);
    }
    if let Some(found) = value(&keys::LOAD_MEMORY_PERCENT, 100) {
        limits.memory_percent = percent(found);
    }
    let tunnels = value(&keys::LOAD_MAX_TUNNELS, MOST_TUNNELS as i64).filter(|tunnels| *tunnels > 0);
    if let Some(found) = tunnels.and_then(|tunnels| usize::try_from(tunnels).ok()) {
        limits.tunnels = found;
    }
    if let Some(found) = value(&keys::LOAD_HANDSHAKE_DELAY, 60_000).filter(|found| *found > 0) {
        limits.handshake_delay = Some(Duration::from_millis(found));
    }
    limits
}
