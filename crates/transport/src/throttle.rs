//! A stream that is no faster than it may be: a limit in each direction, after so many bytes without one. For tunnels, on
//! either end. What has no limit goes straight through.
//!
//! Source: the meaning of the reference's `RateLimits`; a token bucket.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use culvert_protocol::parameters::RateLimits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What may go at once after a pause, in parts of a second's worth. Somebody who waits for the next piece loses nothing when the
/// machine is busy for up to a second.
const BURSTS_PER_SECOND: u64 = 16;
/// What is waited for, likewise: less would cost too many wake-ups, more would delay small things.
const PIECES_PER_SECOND: u64 = 64;
/// Less is not waited for: it would be headers of packets more than bytes.
const LEAST: u64 = 512;

/// A stream within limits.
#[derive(Debug)]
pub struct Throttle<S> {
    stream: S,
    reading: Option<Box<Bucket>>,
    writing: Option<Box<Bucket>>,
}

/// One direction.
#[derive(Debug)]
struct Bucket {
    /// May still go freely.
    unlimited: u64,
    beyond: Beyond,
    tokens: u64,
    filled: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// What happens when the free bytes are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Slow { per_second: u64 },
    Close,
}

impl<S> Throttle<S> {
    /// Begins to count.
    pub fn new(stream: S, limits: &RateLimits) -> Self {
        let mut throttle = Self { stream, reading: None, writing: None };
        throttle.set(limits);
        throttle
    }

    /// Puts other limits in place of those there are, and begins to count anew. Takes effect when the stream is next
    /// polled, which is up to the caller.
    pub fn set(&mut self, limits: &RateLimits) {
        let close = limits.close_after_exhausted;
        self.reading = Bucket::new(limits.read_unthrottled_bytes, limits.read_bytes_per_second, close);
        self.writing = Bucket::new(limits.write_unthrottled_bytes, limits.write_bytes_per_second, close);
    }

    /// The stream without limits.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl Bucket {
    /// `None` where there is nothing to limit. Where all ends with the last free byte and there is none, it ends at once: so
    /// operators keep clients out.
    fn new(unlimited: u64, per_second: u64, close: bool) -> Option<Box<Self>> {
        let beyond = match per_second {
            _ if close => Beyond::Close,
            0 => return None,
            _ => Beyond::Slow { per_second },
        };
        // Less than a full one, so that short transfers are not faster than long ones.
        let tokens = LEAST.min(per_second);
        Some(Box::new(Self { unlimited, beyond, tokens, filled: Instant::now(), waiting: None }))
    }

    /// How many bytes may go now, at least one.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unlimited > 0 {
            return Poll::Ready(Ok(usize::try_from(self.unlimited).unwrap_or(usize::MAX)));
        }
        let Beyond::Slow { per_second } = self.beyond else {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "RateLimits: all bytes are used up",
            )));
        };
        loop {
            self.fill(per_second);
            if self.tokens > 0 {
                self.waiting = None;
                return Poll::Ready(Ok(usize::try_from(self.tokens).unwrap_or(usize::MAX)));
            }
            let until = self.filled + time_for((per_second / PIECES_PER_SECOND).max(LEAST), per_second);
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
    }

    /// Adds what time has brought since the last drop, and keeps the rest of the time.
    fn fill(&mut self, per_second: u64) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.filled);
        let brought = elapsed.as_nanos().saturating_mul(per_second.into()) / 1_000_000_000;
        let brought = u64::try_from(brought).unwrap_or(u64::MAX);
        if brought > 0 {
            let most = if self.waiting.is_some() { per_second } else { per_second / BURSTS_PER_SECOND };
            self.tokens = self.tokens.saturating_add(brought).min(most.max(LEAST));
            self.filled = (self.filled + time_for(brought, per_second)).min(now);
        }
    }

    fn take(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if self.unlimited > 0 {
            self.unlimited = self.unlimited.saturating_sub(bytes);
            if self.unlimited == 0 {
                // What has passed until now brought nothing: there was no limit yet.
                self.filled = Instant::now();
            }
        } else {
            self.tokens = self.tokens.saturating_sub(bytes);
        }
    }
}

fn time_for(bytes: u64, per_second: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(bucket) = &mut this.reading else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        let allowed = ready!(bucket.poll_allowance(cx))?.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(allowed));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        bucket.take(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(bucket) = &mut this.writing else { return Pin::new(&mut this.stream).poll_write(cx, data) };
        let allowed = ready!(bucket.poll_allowance(cx))?;
        let part = data.get(..data.len().min(allowed)).unwrap_or_default();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, part))?;
        bucket.take(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn time_to_move(limits: RateLimits, up: bool, bytes: usize) -> (Duration, usize) {
        let (near, mut far) = duplex(1 << 20);
        let mut near = Throttle::new(near, &limits);
        let began = Instant::now();
        let moving = async {
            if up {
                drop(near.write_all(&vec![7; bytes]).await);
                drop(near);
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.unwrap();
                all.len()
            } else {
                far.write_all(&vec![7; bytes]).await.unwrap();
                drop(far);
                let mut all = Vec::new();
                let _ = near.read_to_end(&mut all).await;
                all.len()
            }
        };
        let moved = moving.await;
        (began.elapsed(), moved)
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_keeps_its_limit_after_what_is_free() {
        let both = |rate| RateLimits {
            read_bytes_per_second: rate,
            write_bytes_per_second: rate,
            read_unthrottled_bytes: 100_000,
            write_unthrottled_bytes: 100_000,
            ..RateLimits::default()
        };
        for up in [true, false] {
            let (time, moved) = time_to_move(both(50_000), up, 600_000).await;
            assert_eq!(moved, 600_000);
            assert!((9.5..10.5).contains(&time.as_secs_f64()), "{time:?} for 500 kB at 50 kB/s");
            let (time, _) = time_to_move(both(50_000), up, 100_000).await;
            assert!(time < Duration::from_millis(50), "{time:?} for what is free");
            let (time, moved) = time_to_move(both(100), up, 101_000).await;
            assert_eq!(moved, 101_000);
            assert!((4.0..11.0).contains(&time.as_secs_f64()), "{time:?} for 1 kB at 100 B/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_may_be_the_end() {
        let limits = RateLimits {
            write_bytes_per_second: 1,
            write_unthrottled_bytes: 1000,
            read_bytes_per_second: 1,
            read_unthrottled_bytes: 2000,
            close_after_exhausted: true,
        };
        assert_eq!(time_to_move(limits, true, 5000).await.1, 1000);
        assert_eq!(time_to_move(limits, false, 5000).await.1, 2000);
        // A direction of which nothing is said has nothing, with a rate or without.
        let up_only = RateLimits {
            write_unthrottled_bytes: 1000,
            close_after_exhausted: true,
            ..RateLimits::default()
        };
        assert_eq!(time_to_move(up_only, true, 5000).await.1, 1000);
        assert_eq!(time_to_move(up_only, false, 500_000).await.1, 0);
        let nothing = RateLimits { close_after_exhausted: true, ..RateLimits::default() };
        assert_eq!(time_to_move(nothing, true, 1).await.1, 0);
        let one_way = RateLimits { read_bytes_per_second: 1, ..RateLimits::default() };
        let (time, moved) = time_to_move(one_way, true, 900_000).await;
        assert!(moved == 900_000 && time < Duration::from_millis(50), "the other way has no limit");
    }

    #[tokio::test(start_paused = true)]
    async fn other_limits_count_anew() {
        let limited = |rate, unthrottled| RateLimits {
            write_bytes_per_second: rate,
            write_unthrottled_bytes: unthrottled,
            ..RateLimits::default()
        };
        let (near, _far) = duplex(1 << 20);
        let mut near = Throttle::new(near, &limited(1000, 0));
        let time = async |near: &mut Throttle<_>, bytes| {
            let began = Instant::now();
            near.write_all(&vec![7; bytes]).await.unwrap();
            began.elapsed().as_secs_f64()
        };
        assert!((9.0..11.0).contains(&time(&mut near, 10_000).await));
        near.set(&limited(1000, 50_000));
        assert!(time(&mut near, 50_000).await < 0.1);
        assert!((9.0..11.0).contains(&time(&mut near, 10_000).await));
        near.set(&limited(0, 0));
        assert!(time(&mut near, 400_000).await < 0.1);
        near.set(&limited(100_000, 0));
        let slow = time(&mut near, 300_000).await;
        assert!((2.9..3.1).contains(&slow), "{slow} s for 300 kB at 100 kB/s");
    }
}
