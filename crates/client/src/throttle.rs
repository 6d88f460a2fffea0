//! A stream that is no faster than asked: the tunnel's own limit, in each direction, after so many bytes without one. For
//! people who pay by volume, and for tests of slow networks.
//!
//! Source: the meaning of the reference's `RateLimits`; a token bucket.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use culvert_protocol::parameters::RateLimits;
use culvert_transport::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What may go at once after a pause, in parts of a second's worth; more would come in bursts, less would cost too many
/// wake-ups.
const BURSTS_PER_SECOND: u64 = 8;
/// Less is not waited for: it would be headers of packets more than bytes.
const LEAST: u64 = 512;

/// Read at once.
const PIECE: usize = 16 * 1024;

/// A stream within limits. One without any is left as it is.
pub(crate) fn throttled(stream: Stream, limits: &RateLimits) -> Stream {
    if limits.read_bytes_per_second == 0 && limits.write_bytes_per_second == 0 {
        return stream;
    }
    let end = if limits.close_after_exhausted { AtEnd::Close } else { AtEnd::Slow };
    Box::new(Throttled {
        stream,
        reading: Bucket::new(limits.read_unthrottled_bytes, limits.read_bytes_per_second, end),
        writing: Bucket::new(limits.write_unthrottled_bytes, limits.write_bytes_per_second, end),
    })
}

struct Throttled {
    stream: Stream,
    reading: Bucket,
    writing: Bucket,
}

/// What happens when the unlimited bytes are used up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    Slow,
    Close,
}

/// One direction.
struct Bucket {
    unlimited: u64,
    /// 0 is no limit.
    per_second: u64,
    at_end: AtEnd,
    tokens: u64,
    filled: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Bucket {
    fn new(unlimited: u64, per_second: u64, at_end: AtEnd) -> Self {
        let mut bucket =
            Self { unlimited, per_second, at_end, tokens: 0, filled: Instant::now(), waiting: None };
        bucket.tokens = bucket.most();
        bucket
    }

    fn most(&self) -> u64 {
        (self.per_second / BURSTS_PER_SECOND).max(LEAST)
    }

    /// How many bytes may go now, at least one.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.per_second == 0 {
            return Poll::Ready(Ok(usize::MAX));
        }
        if self.unlimited > 0 {
            return Poll::Ready(Ok(usize::try_from(self.unlimited).unwrap_or(usize::MAX)));
        }
        if self.at_end == AtEnd::Close {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "RateLimits: all bytes are used up",
            )));
        }
        loop {
            self.fill();
            if self.tokens > 0 {
                self.waiting = None;
                return Poll::Ready(Ok(usize::try_from(self.tokens).unwrap_or(usize::MAX)));
            }
            let until = self.filled + self.time_for(LEAST.min(self.most()));
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
    }

    /// Adds what time has brought since the last drop, and keeps the rest of the time.
    fn fill(&mut self) {
        let elapsed = self.filled.elapsed();
        let brought = elapsed.as_nanos().saturating_mul(self.per_second.into()) / 1_000_000_000;
        let brought = u64::try_from(brought).unwrap_or(u64::MAX);
        if brought > 0 {
            self.tokens = self.tokens.saturating_add(brought).min(self.most());
            self.filled = Instant::now();
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.per_second.max(1))
    }

    fn take(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if self.unlimited > 0 {
            self.unlimited = self.unlimited.saturating_sub(bytes);
        } else {
            self.tokens = self.tokens.saturating_sub(bytes);
        }
    }
}

impl AsyncRead for Throttled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let allowed = ready!(self.reading.poll_allowance(cx))?;
        // A stream that is to be slow needs no more at once.
        let mut piece = [std::mem::MaybeUninit::<u8>::uninit(); PIECE];
        let room = allowed.min(buf.remaining()).min(PIECE);
        let mut part = ReadBuf::uninit(piece.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        self.reading.take(part.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Throttled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.writing.poll_allowance(cx))?;
        let part = data.get(..data.len().min(allowed)).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
        self.writing.take(written);
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
        let mut near = throttled(Box::new(near), &limits);
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
        let one_way = RateLimits { read_bytes_per_second: 1, ..RateLimits::default() };
        let (time, moved) = time_to_move(one_way, true, 900_000).await;
        assert!(moved == 900_000 && time < Duration::from_millis(50), "the other way has no limit");
    }
}
