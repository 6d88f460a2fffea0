//! Sessions that have no tunnel now, for about an hour: whether a session that comes was here. In a table of fixed size that is all there from the
//! start, since as many as come in an hour are more than anything else that a server keeps. Source: none, a data structure of our own.
//!
//! Names are kept as hashes with a key of this process. So one in about 10^9 new sessions counts as known, which is a mark in a report only.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use culvert_protocol::api::SessionId;
use tokio::time::Instant;

/// How long a session counts as known after its last tunnel.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3600);

/// A row is what a processor reads at once. Of sessions that share one, the oldest make room.
const ROW: usize = 8;
/// As many as hold 65,536 sessions.
const ROWS: usize = 1 << 13;

/// All of them.
pub(super) struct Gone {
    began: Instant,
    hashes: RandomState,
    rows: Box<[Row]>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Row([Ended; ROW]);

/// A session that has ended.
#[derive(Clone, Copy)]
struct Ended {
    /// Half of its name's hash; the row is another part of it.
    tag: u32,
    /// In seconds since the beginning.
    at: u32,
}

impl Ended {
    /// None. Not zeros, for which an allocator would have pages that take no memory until they are written to.
    const NONE: Self = Self { tag: u32::MAX, at: u32::MAX };

    /// What to look at when somebody has to make room: greater has been gone for longer.
    fn age(self, now: u32) -> u64 {
        match self.at {
            u32::MAX => u64::MAX,
            at => now.saturating_sub(at).into(),
        }
    }

    fn is_over(self, now: u32) -> bool {
        self.age(now) >= REMEMBERED.as_secs()
    }
}

impl Default for Gone {
    fn default() -> Self {
        let rows = vec![Row([Ended::NONE; ROW]); ROWS].into_boxed_slice();
        Self { began: Instant::now(), hashes: RandomState::new(), rows }
    }
}

impl Gone {
    /// A session's last tunnel has ended.
    pub(super) fn remember(&mut self, id: &SessionId, now: Instant) {
        let at = self.seconds(now);
        let (tag, row) = self.find(id);
        // Itself, if it is there; or a place of nobody; or the oldest's.
        let place =
            row.iter_mut().max_by_key(|ended| (ended.at != u32::MAX && ended.tag == tag, ended.age(at)));
        if let Some(place) = place {
            *place = Ended { tag, at };
        }
    }

    /// Whether it was remembered; it is not any more.
    pub(super) fn forget(&mut self, id: &SessionId, now: Instant) -> bool {
        let now = self.seconds(now);
        let (tag, row) = self.find(id);
        let found = row.iter_mut().find(|ended| ended.tag == tag && !ended.is_over(now));
        found.map(|ended| *ended = Ended::NONE).is_some()
    }

    #[expect(clippy::cast_possible_truncation, reason = "parts of a hash")]
    fn find(&mut self, id: &SessionId) -> (u32, &mut [Ended]) {
        let hash = self.hashes.hash_one(id);
        let row = self.rows.get_mut((hash >> 32) as usize % ROWS);
        (hash as u32, row.map(|row| row.0.as_mut_slice()).unwrap_or_default())
    }

    fn seconds(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.began).as_secs();
        u32::try_from(since).unwrap_or(u32::MAX).min(u32::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    #[test]
    fn it_has_a_fixed_size_and_the_oldest_make_room() {
        assert_eq!((size_of::<Row>(), ROW * ROWS), (64, 65_536));
        let mut gone = Gone::default();
        let began = gone.began;
        let held =
            |gone: &Gone| gone.rows.iter().flat_map(|row| row.0).filter(|it| it.at != u32::MAX).count();
        // Half of what there is room for: hardly a row is full.
        for number in 0..32_768 {
            gone.remember(&id(number), began);
        }
        assert!(held(&gone) > 32_000, "{}", held(&gone));
        // Many times as many, later.
        let later = began + Duration::from_secs(60);
        for number in 100_000..600_000 {
            gone.remember(&id(number), later);
        }
        assert_eq!(held(&gone), ROW * ROWS);
        assert!((0..1000).all(|number| !gone.forget(&id(number), later)));
        assert!(gone.forget(&id(599_999), later) && !gone.forget(&id(599_999), later));
    }

    #[test]
    fn those_that_are_over_make_room_for_others() {
        let mut gone = Gone::default();
        let (began, over) = (gone.began, gone.began + REMEMBERED);
        for number in 0..500_000 {
            gone.remember(&id(number), began);
        }
        (500_000..516_384).for_each(|number| gone.remember(&id(number), over));
        let known = (500_000..516_384).filter(|number| gone.forget(&id(*number), over)).count();
        assert!(known > 16_300, "{known}");
    }

    #[test]
    fn a_session_is_kept_once_and_until_an_hour_after_its_last_end() {
        let mut gone = Gone::default();
        let after = |seconds| Duration::from_secs(seconds);
        let began = gone.began;
        assert!(!gone.forget(&id(1), began));
        gone.remember(&id(1), began);
        gone.remember(&id(1), began + after(3000));
        assert!(!gone.forget(&id(1), began + after(6600)));
        gone.remember(&id(1), began + after(7000));
        assert!(gone.forget(&id(1), began + after(10_599)) && !gone.forget(&id(1), began + after(10_599)));
    }
}
