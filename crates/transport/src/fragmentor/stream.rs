//! The stream that writes pieces. Nothing is kept here: a piece is a short write, and what comes after the last piece goes
//! to the stream below as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::cuts::Cuts;
use super::plan::Fragmentation;
use crate::Stream;

/// A connection that is or was fragmented.
pub(crate) struct Fragmented {
    inner: Stream,
    /// `None` when no more is fragmented.
    fragmenting: Option<Box<Fragmenting>>,
}

struct Fragmenting {
    plan: Fragmentation,
    piece: Option<Pending>,
    cuts: Arc<Cuts>,
}

/// A piece that was drawn and is not written.
struct Pending {
    bytes: usize,
    delay: Duration,
    /// `None` once it is over.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Fragmented {
    pub(super) fn new(inner: Stream, plan: Fragmentation, cuts: Arc<Cuts>) -> Self {
        Self { inner, fragmenting: Some(Box::new(Fragmenting { plan, piece: None, cuts })) }
    }

    /// The connection itself.
    pub(crate) fn as_tcp(&self) -> Option<&TcpStream> {
        self.inner.as_tcp()
    }

    /// How many of so many bytes may be written now; `None` for all.
    fn poll_allowed(&mut self, len: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let Some(fragmenting) = &mut self.fragmenting else { return Poll::Ready(None) };
        if len == 0 {
            return Poll::Ready(None);
        }
        let allowed = ready!(fragmenting.poll_allowed(len, cx));
        if allowed.is_none() {
            self.fragmenting = None;
        }
        Poll::Ready(allowed)
    }

    fn written(&mut self, written: usize) {
        if let Some(fragmenting) = &mut self.fragmenting
            && let Some(piece) = fragmenting.piece.take()
        {
            fragmenting.cuts.add(written, piece.delay);
            let rest = piece.bytes.saturating_sub(written);
            fragmenting.piece = (rest > 0).then_some(Pending { bytes: rest, ..piece });
        }
    }
}

impl Fragmenting {
    fn poll_allowed(&mut self, len: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.piece.is_none() {
            self.piece = self.plan.piece(len).map(|piece| Pending {
                bytes: piece.bytes,
                delay: piece.delay,
                pause: (!piece.delay.is_zero()).then(|| Box::pin(sleep_until(Instant::now() + piece.delay))),
            });
        }
        let Some(piece) = &mut self.piece else { return Poll::Ready(None) };
        if let Some(pause) = &mut piece.pause {
            ready!(pause.as_mut().poll(cx));
            piece.pause = None;
        }
        Poll::Ready(Some(piece.bytes.min(len)))
    }
}

impl AsyncRead for Fragmented {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fragmented {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let allowed = ready!(this.poll_allowed(bytes.len(), cx));
        let part = allowed.and_then(|allowed| bytes.get(..allowed)).unwrap_or(bytes);
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, part))?;
        this.written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.fragmenting.is_none() {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        }
        let first = parts.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[], |part| part))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use culvert_obfuscation::{Prng, Seed};
    use culvert_protocol::parameters::Probability;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::{Settings, fragment, fragment_counted};

    const SETTINGS: Settings = Settings {
        probability: Probability::ALWAYS,
        total_bytes: [2000, 3000],
        write_bytes: [10, 200],
        delay: [Duration::from_millis(1), Duration::from_millis(4)],
    };

    /// What a reader gets who reads whenever something has come.
    async fn segments(settings: &Settings, writes: &[usize]) -> Vec<usize> {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut stream = fragment(Box::new(near), settings, Prng::new(&Seed::from_bytes([9; 32])));
        let sent: Vec<u8> = (0..writes.iter().sum()).map(|n: usize| n as u8).collect();
        let (expected, writes) = (sent.clone(), writes.to_vec());
        let writer = tokio::spawn(async move {
            let mut rest = sent.as_slice();
            for bytes in writes {
                let (now, later) = rest.split_at(bytes);
                stream.write_all(now).await.unwrap();
                rest = later;
            }
            stream.shutdown().await.unwrap();
        });
        let (mut sizes, mut received, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 20]);
        loop {
            match far.read(&mut buffer).await.unwrap() {
                0 => break,
                n => {
                    sizes.push(n);
                    received.extend_from_slice(&buffer[..n]);
                }
            }
        }
        writer.await.unwrap();
        assert_eq!(received, expected);
        sizes
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_come_in_pieces_and_the_rest_as_it_is() {
        let sizes = segments(&SETTINGS, &[1000, 5000, 50_000]).await;
        let (mut total, mut pieces) = (0, 0);
        while total < 2000 {
            total += sizes[pieces];
            assert!(sizes[pieces] <= 200, "{sizes:?}");
            pieces += 1;
        }
        assert!(pieces > 10 && sizes.len() < pieces + 30, "{sizes:?}");
        assert!(sizes.last().is_some_and(|last| *last > 40_000), "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_counted() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let prng = Prng::new(&Seed::from_bytes([9; 32]));
        let (mut stream, cuts) = fragment_counted(Box::new(near), &SETTINGS, prng);
        let cuts = cuts.unwrap();
        assert_eq!(cuts.counts(), None);
        stream.write_all(&[0; 5000]).await.unwrap();
        drop(stream);
        assert_eq!(far.read_to_end(&mut Vec::new()).await.unwrap(), 5000);
        let counts = cuts.counts().unwrap();
        assert!((2000..=3000).contains(&counts.bytes), "{counts:?}");
        let [least, most] = counts.sizes;
        assert!(least <= most && most <= 200, "{counts:?}");
        let [shortest, longest] = counts.delays;
        let [from, to] = SETTINGS.delay;
        assert!(from <= shortest && shortest <= longest && longest <= to, "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_fragmentation_nothing_is_around_the_stream() {
        let never = Settings { probability: Probability::NEVER, ..SETTINGS };
        assert_eq!(segments(&never, &[5000]).await, [5000]);
        let nothing = Settings { total_bytes: [0, 0], ..SETTINGS };
        assert_eq!(segments(&nothing, &[5000]).await, [5000]);
    }
}
