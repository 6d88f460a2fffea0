//! Attempts side by side, in places of which there are few. An attempt that stalls gives its place to the next one but goes on, and can still
//! win; those that stall have room of their own, which is bounded too. Not what an attempt does, nor which comes next.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, AbortHandle, JoinSet};
use tokio::time::Instant;

/// For each place, so many attempts may go on that gave theirs up.
const STALLED_PER_PLACE: usize = 3;

/// The attempts that run. Dropping it ends them all.
pub(crate) struct Pool<L, T> {
    places: usize,
    /// An attempt that stalls has at least so long before it must make room.
    least_life: Duration,
    tasks: JoinSet<T>,
    running: BTreeMap<task::Id, Running<L>>,
    /// Whether only one of two may go on to the end.
    rivals: fn(&L, &L) -> bool,
    news: mpsc::UnboundedSender<News>,
    told: mpsc::UnboundedReceiver<News>,
}

/// What an attempt has to say while it runs.
enum News {
    Stalled(task::Id),
    Claimed(task::Id, Instant),
}

/// By which an attempt ends its rivals.
#[derive(Clone)]
pub(crate) struct Claims(mpsc::UnboundedSender<News>);

impl Claims {
    /// Says that the attempt whose task this is goes on to the end, for which it should need so long at most. Must be called in it.
    pub(crate) fn claim(&self, needs: Duration) {
        // Nobody listens when the pool is gone, and this task with it.
        let _ = self.0.send(News::Claimed(task::id(), Instant::now() + needs));
    }
}

struct Running<L> {
    label: L,
    started: Instant,
    has_place: bool,
    claims_until: Option<Instant>,
    abort: AbortHandle,
}

/// What happened in the pool.
#[derive(Debug)]
pub(crate) enum Event<L, T> {
    /// An attempt is over.
    Ended(L, T),
    /// An attempt panicked: a bug, which costs that attempt only.
    Broke(L),
    /// An attempt has given up its place.
    Stalled(L),
}

impl<L: Clone, T: Send + 'static> Pool<L, T> {
    /// Room for so many attempts, one at least. Of those that are `rivals` the first to claim the end is left.
    pub(crate) fn new(places: usize, least_life: Duration, rivals: fn(&L, &L) -> bool) -> Self {
        // Two messages for each attempt, of which there are few.
        let (news, told) = mpsc::unbounded_channel();
        let places = places.max(1);
        Self { places, least_life, tasks: JoinSet::new(), running: BTreeMap::new(), rivals, news, told }
    }

    /// For attempts, to end their rivals with.
    pub(crate) fn claims(&self) -> Claims {
        Claims(self.news.clone())
    }

    /// Patience for those that stall, from now on.
    pub(crate) fn set_least_life(&mut self, least_life: Duration) {
        self.least_life = least_life;
    }

    /// The attempts that run.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &L> {
        self.running.values().map(|running| &running.label)
    }

    /// Whether an attempt goes on to the end that this one would be a rival of.
    pub(crate) fn is_claimed(&self, now: Instant, is_rival: impl Fn(&L) -> bool) -> bool {
        let claims = |running: &Running<L>| running.claims_until.is_some_and(|until| now < until);
        self.running.values().any(|running| claims(running) && is_rival(&running.label))
    }

    /// True when no attempt has a place.
    pub(crate) fn is_waiting(&self) -> bool {
        self.held() == 0
    }

    /// When there is room for another attempt: now, or at that time, or `None` when that depends on others.
    pub(crate) fn room_at(&self, now: Instant) -> Option<Instant> {
        if self.held() >= self.places {
            return None;
        }
        if self.running.len() - self.held() < self.places * STALLED_PER_PLACE {
            return Some(now);
        }
        Some(self.oldest_stalled()?.1.max(now))
    }

    /// Starts an attempt, for which there is room. It loses its place when `stalls` completes before it does.
    pub(crate) fn start(
        &mut self,
        label: L,
        attempt: impl Future<Output = T> + Send + 'static,
        stalls: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.running.len() - self.held() >= self.places * STALLED_PER_PLACE
            && let Some((id, _)) = self.oldest_stalled()
            && let Some(oldest) = self.running.remove(&id)
        {
            oldest.abort.abort();
        }
        let sender = self.news.clone();
        let abort = self.tasks.spawn(async move {
            let mut attempt = pin!(attempt);
            tokio::select! {
                biased;
                ended = &mut attempt => return ended,
                () = stalls => {}
            }
            // Nobody listens when the pool is gone, and this task with it.
            let _ = sender.send(News::Stalled(task::id()));
            attempt.await
        });
        let started = Instant::now();
        self.running
            .insert(abort.id(), Running { label, started, has_place: true, claims_until: None, abort });
    }

    /// The next thing that happens; pending while nothing runs.
    pub(crate) async fn next(&mut self) -> Event<L, T> {
        loop {
            tokio::select! {
                biased;
                Some(joined) = self.tasks.join_next_with_id() => {
                    let id = joined.as_ref().map_or_else(task::JoinError::id, |(id, _)| *id);
                    // One that had to make room is not known any more.
                    let Some(running) = self.running.remove(&id) else { continue };
                    return match joined {
                        Ok((_, ended)) => Event::Ended(running.label, ended),
                        Err(_) => Event::Broke(running.label),
                    };
                }
                Some(news) = self.told.recv() => match news {
                    News::Claimed(id, until) => self.end_rivals(id, until),
                    News::Stalled(id) => {
                        let Some(running) = self.running.get_mut(&id) else { continue };
                        running.has_place = false;
                        return Event::Stalled(running.label.clone());
                    }
                }
            }
        }
    }

    fn end_rivals(&mut self, of: task::Id, until: Instant) {
        let Some(claimant) = self.running.get_mut(&of) else { return };
        claimant.claims_until = Some(until);
        let label = claimant.label.clone();
        let rivals = self.rivals;
        self.running.retain(|id, other| {
            let stays = *id == of || !rivals(&label, &other.label);
            if !stays {
                other.abort.abort();
            }
            stays
        });
    }

    fn held(&self) -> usize {
        self.running.values().filter(|running| running.has_place).count()
    }

    /// The attempt that would have to make room, and from when on it may be made to.
    fn oldest_stalled(&self) -> Option<(task::Id, Instant)> {
        let stalled = self.running.iter().filter(|(_, running)| !running.has_place);
        let (id, oldest) = stalled.min_by_key(|(_, running)| running.started)?;
        Some((*id, oldest.started + self.least_life))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIFE: Duration = Duration::from_secs(5);
    const STALL: Duration = Duration::from_millis(250);

    fn start_mute(pool: &mut Pool<u32, u32>, number: u32) {
        pool.start(number, pending(), sleep(STALL));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stalls_gives_its_place_away_and_can_still_win() {
        let mut pool = Pool::new(1, LIFE, |_, _| false);
        let started = Instant::now();
        pool.start(
            1,
            async {
                sleep(Duration::from_secs(3)).await;
                11
            },
            sleep(STALL),
        );
        assert_eq!(pool.room_at(started), None);
        assert!(matches!(pool.next().await, Event::Stalled(_)));
        assert_eq!(started.elapsed(), STALL);
        assert_eq!(pool.room_at(Instant::now()), Some(Instant::now()));
        start_mute(&mut pool, 2);
        assert!(matches!(pool.next().await, Event::Stalled(_)));
        assert!(matches!(pool.next().await, Event::Ended(1, 11)));
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn room_for_what_stalls_is_bounded_and_the_oldest_makes_room() {
        let mut pool = Pool::new(2, LIFE, |_, _| false);
        let started = Instant::now();
        for number in 0..6 {
            start_mute(&mut pool, number);
            assert!(matches!(pool.next().await, Event::Stalled(_)));
        }
        assert_eq!(pool.room_at(Instant::now()), Some(started + LIFE));
        sleep(LIFE).await;
        start_mute(&mut pool, 6);
        assert_eq!(pool.labels().copied().collect::<Vec<_>>().len(), 6);
        assert!(pool.labels().all(|label| *label != 0));
        assert!(matches!(pool.next().await, Event::Stalled(_)));
        assert!(pool.is_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_one_attempt() {
        let mut pool: Pool<u32, u32> = Pool::new(2, LIFE, |_, _| false);
        pool.start(1, async { std::panic::resume_unwind(Box::new(())) }, pending());
        assert!(matches!(pool.next().await, Event::Broke(1)));
        assert!(pool.is_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn who_claims_the_end_is_left_of_its_rivals() {
        let mut pool = Pool::new(3, LIFE, |one: &u32, other| one % 10 == other % 10);
        let claims = pool.claims();
        start_mute(&mut pool, 11);
        start_mute(&mut pool, 2);
        let claiming = async move {
            claims.claim(LIFE);
            sleep(LIFE).await;
            21
        };
        pool.start(21, claiming, pending());
        assert!(matches!(pool.next().await, Event::Stalled(2)));
        assert_eq!(pool.labels().copied().collect::<Vec<_>>(), [2, 21]);
        let claimed = |after| pool.is_claimed(Instant::now() + after, |label| *label == 21);
        assert!(claimed(Duration::ZERO) && !claimed(LIFE));
        assert!(!pool.is_claimed(Instant::now(), |label| *label == 2));
        assert!(matches!(pool.next().await, Event::Ended(21, 21)));
    }
}
