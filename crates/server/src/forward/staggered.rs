//! Several ways to one thing, tried one after the other without waiting for each to fail: the first that succeeds counts.
//! Source: RFC 8305 section 5.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How impatiently to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After so long without an outcome the next is tried beside.
    pub(crate) delay: Duration,
    /// No more than so many are under way at a time.
    pub(crate) at_once: usize,
}

/// Tries until one succeeds, or all have failed, in the order of failing. A failure lets the next begin at once. What is
/// still under way in the end is dropped; so is all, with this future.
pub(crate) async fn first_of<T, E, A>(attempts: Vec<A>, pace: Pace) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut waiting = attempts.into_iter().peekable();
    let (mut under_way, mut failures) = (JoinSet::new(), Vec::new());
    let mut due = Instant::now();
    loop {
        let may_begin = under_way.len() < pace.at_once.max(1);
        if may_begin
            && Instant::now() >= due
            && let Some(attempt) = waiting.next()
        {
            under_way.spawn(attempt);
            due = Instant::now() + pace.delay;
            continue;
        }
        if under_way.is_empty() && waiting.peek().is_none() {
            return Err(failures);
        }
        tokio::select! {
            Some(ended) = under_way.join_next() => match ended {
                Ok(Ok(success)) => return Ok(success),
                Ok(Err(failure)) => {
                    failures.push(failure);
                    due = Instant::now();
                }
                // It panicked: no success.
                Err(_) => due = Instant::now(),
            },
            () = sleep_until(due), if may_begin && waiting.peek().is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const PACE: Pace = Pace { delay: Duration::from_millis(250), at_once: 2 };

    async fn after(millis: u64, outcome: Result<u64, u64>) -> Result<u64, u64> {
        sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_does_not_hold_up_the_next() {
        let start = Instant::now();
        assert_eq!(first_of(vec![after(9000, Ok(1)), after(10, Ok(2))], PACE).await, Ok(2));
        assert_eq!(start.elapsed(), Duration::from_millis(260));
        // The first is still preferred.
        assert_eq!(first_of(vec![after(200, Ok(1)), after(0, Ok(2))], PACE).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_lets_the_next_begin_at_once() {
        let start = Instant::now();
        assert_eq!(first_of(vec![after(5, Err(1)), after(5, Err(2)), after(5, Ok(3))], PACE).await, Ok(3));
        assert_eq!(start.elapsed(), Duration::from_millis(15));
        assert_eq!(first_of(vec![after(5, Err(1)), after(1, Err(2))], PACE).await, Err(vec![1, 2]));
        assert_eq!(first_of(Vec::<std::future::Ready<Result<(), ()>>>::new(), PACE).await, Err(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_under_way() {
        let start = Instant::now();
        let all = vec![after(10_000, Err(1)), after(10_000, Err(2)), after(1, Ok(3))];
        assert_eq!(first_of(all, PACE).await, Ok(3));
        assert_eq!(start.elapsed(), Duration::from_millis(10_001));
    }
}
