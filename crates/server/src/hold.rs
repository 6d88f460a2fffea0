//! Peers that must learn nothing: kept waiting in silence, all alike, until they leave. Whatever they send is read and
//! thrown away, since a connection closed over unread bytes is reset, and a reset tells one kind of probe from another.
//! Source: PROTOCOL.md 2.4.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use culvert_transport::Stream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What strangers of one kind may take together.
pub(crate) struct Bounds {
    /// How many there may be, however large the machine.
    most: usize,
    /// They may have one in so many of all open files, each counted by how many it has.
    files: usize,
    /// What each takes of memory at most, of which they may have a sixteenth.
    memory: u64,
}

/// Those who are kept waiting in silence.
pub(crate) const SILENT: Bounds = Bounds { most: 32_768, files: 2, memory: 4096 };
/// Those who are shown a site: each has a second connection, and buffers both ways.
pub(crate) const AT_SITE: Bounds = Bounds { most: 4096, files: 8, memory: 24 * 1024 };
const MEMORY_SHARE: u64 = 16;

/// What all strangers together may have us read and throw away, in bytes of a second: more than a few who talk need, and nothing that is felt.
const DISCARDED: u64 = 8 << 20;
/// As much as that may be at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How much is thrown away before it is counted.
const PORTION: usize = 64 * 1024;
/// Bytes thrown away at a time; on the stack, so that a silent peer costs none.
pub(crate) const DRAIN: usize = 4096;
/// How long the peer gets to end its direction after we ended ours.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everyone who is being kept waiting, oldest first.
pub(crate) struct Held {
    most: usize,
    pace: Pace,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Dropping a sender tells its ticket that it must leave.
    tickets: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place among those kept waiting; dropping it gives the place up.
pub(crate) struct Ticket {
    held: Arc<Held>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Held {
    /// As many as there is room for among so many open files, and in so much memory: clients need both too.
    pub(crate) fn among(files: usize, memory: Option<u64>, bounds: &Bounds) -> Arc<Self> {
        let in_memory = memory.and_then(|memory| usize::try_from(memory / MEMORY_SHARE / bounds.memory).ok());
        Self::new(bounds.most.min(files / bounds.files).min(in_memory.unwrap_or(bounds.most)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).tickets.len()
    }

    /// Sends away those who wait longest; how many there were.
    pub(crate) fn evict(&self, count: usize) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).take_while(|_| waiting.tickets.pop_first().is_some()).count()
    }

    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), pace: Pace::new(), waiting: Mutex::default() })
    }

    /// Takes a place; the one who waits longest loses theirs when there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> Ticket {
        let (sender, evicted) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.tickets.len() >= self.most {
            waiting.tickets.pop_first();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.tickets.insert(number, sender);
        Ticket { held: self.clone(), number, evicted }
    }
}

impl Ticket {
    /// Returns when the place is needed for somebody else.
    pub(crate) async fn evicted(&mut self) {
        // Nothing is ever sent: the sender's end is the message.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.held.waiting.lock().unwrap_or_else(PoisonError::into_inner).tickets.remove(&self.number);
    }
}

/// How fast is thrown away what strangers send. Beyond it they wait as for any busy server.
struct Pace(Mutex<Instant>);

impl Pace {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Counts bytes; what to wait before more are read.
    fn take(&self, bytes: usize, now: Instant) -> Duration {
        let takes = Duration::from_micros(bytes as u64 * 1_000_000 / DISCARDED);
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the epoch of the clock nothing was taken either.
        let earliest = now.checked_sub(AT_ONCE).unwrap_or(*paid);
        *paid = (*paid).max(earliest) + takes;
        paid.saturating_duration_since(now)
    }
}

/// Reads and throws away until the peer ends its direction, but not ending before `not_before`, or until `leave` is
/// ready; then closes in an orderly way.
pub(crate) async fn drain(
    mut stream: Stream,
    held: &Held,
    not_before: Instant,
    leave: impl Future<Output = ()>,
) {
    tokio::select! {
        () = discard_slowly(&mut stream, &held.pace) => sleep_until(not_before).await,
        () = leave => close(stream).await,
    }
}

async fn discard_slowly(stream: &mut Stream, pace: &Pace) {
    let mut tries = 2;
    loop {
        let discarded = poll_fn(|cx| poll_discard(stream, PORTION, cx)).await;
        match discarded {
            Ok(Discarded::All) => return,
            Ok(Discarded::Portion) => {
                let wait = pace.take(PORTION, Instant::now());
                if !wait.is_zero() {
                    // Apart, so that those who say little have no room for it in their tasks.
                    Box::pin(sleep(wait)).await;
                }
            }
            // A transport that cannot make sense of its bytes says so once, and throws away what follows.
            Err(error) if error.kind() == io::ErrorKind::InvalidData && tries > 1 => tries -= 1,
            Err(_) => return,
        }
    }
}

/// Ends our direction, so that the peer sees an end and no reset, and reads on for a moment.
pub(crate) async fn close(mut stream: Stream) {
    let farewell = async {
        stream.shutdown().await?;
        discard(&mut stream).await
    };
    // However it ends, nothing is left to be done.
    let _ = timeout(FAREWELL, farewell).await;
}

/// Reads a piece and hands it on; `None` when the peer has ended its direction. The room is on the stack, so that a silent
/// peer costs none.
pub(crate) async fn receive<T>(
    stream: &mut Stream,
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<Option<T>> {
    poll_fn(|cx| {
        let mut space = [0; DRAIN];
        let mut buffer = ReadBuf::new(&mut space);
        std::task::ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        Poll::Ready(Ok((!filled.is_empty()).then(|| take(filled))))
    })
    .await
}

async fn discard(stream: &mut Stream) -> io::Result<()> {
    match poll_fn(|cx| poll_discard(stream, usize::MAX, cx)).await {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            poll_fn(|cx| poll_discard(stream, usize::MAX, cx)).await.map(drop)
        }
        result => result.map(drop),
    }
}

/// What was thrown away.
enum Discarded {
    /// Everything: the peer has ended its direction.
    All,
    /// As much as was asked for.
    Portion,
}

fn poll_discard(stream: &mut Stream, portion: usize, cx: &mut Context<'_>) -> Poll<io::Result<Discarded>> {
    let (mut space, mut left) = ([0; DRAIN], portion);
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(Discarded::All)),
            Poll::Ready(Ok(())) => {
                left = left.saturating_sub(buffer.filled().len());
                if left == 0 {
                    return Poll::Ready(Ok(Discarded::Portion));
                }
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_is_read_and_nothing_answered() {
        let (ours, mut theirs) = duplex(64);
        let held = Held::new(1);
        let draining =
            tokio::spawn(async move { drain(Box::new(ours), &held, Instant::now(), pending()).await });
        theirs.write_all(&[7; 100_000]).await.unwrap();
        assert!(!draining.is_finished());
        theirs.shutdown().await.unwrap();
        draining.await.unwrap();
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }

    #[tokio::test(start_paused = true)]
    async fn who_must_leave_sees_an_orderly_end() {
        let (ours, mut theirs) = duplex(64);
        let held = Held::new(1);
        let draining = tokio::spawn(async move {
            drain(Box::new(ours), &held, Instant::now(), sleep(Duration::from_secs(60))).await;
        });
        theirs.write_all(&[7; 1000]).await.unwrap();
        let mut answer = [0];
        assert_eq!(theirs.read(&mut answer).await.unwrap(), 0);
        theirs.write_all(&[7; 1000]).await.unwrap();
        drop(theirs);
        draining.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_a_pace_and_little_at_once() {
        let held = Held::new(1);
        let began = Instant::now();
        let mut floods = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (ours, mut theirs) = duplex(1 << 16);
            let held = held.clone();
            floods.spawn(async move {
                let sending = async {
                    theirs.write_all(&vec![7; 5 << 20]).await.unwrap();
                    theirs.shutdown().await.unwrap();
                };
                tokio::join!(drain(Box::new(ours), &held, Instant::now(), pending()), sending);
            });
        }
        tokio::task::yield_now().await;
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(&[7; 60_000]).await.unwrap();
        theirs.shutdown().await.unwrap();
        drain(Box::new(ours), &held, Instant::now(), pending()).await;
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        while floods.join_next().await.is_some() {}
        let took = began.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&took), "40 MB took {took:?}");
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let held = Held::new(2);
        let (mut first, mut second) = (held.enter(), held.enter());
        drop(held.enter());
        first.evicted().await;
        let mut fourth = held.enter();
        assert!(timeout(Duration::from_millis(5), second.evicted()).await.is_err(), "a place was given up");
        assert!(timeout(Duration::from_millis(5), fourth.evicted()).await.is_err());
        let _fifth = held.enter();
        second.evicted().await;
        assert_eq!((held.len(), held.evict(1)), (2, 1));
        fourth.evicted().await;
        assert_eq!((held.evict(5), held.len()), (1, 0));
    }
}
