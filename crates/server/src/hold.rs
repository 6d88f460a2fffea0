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
use tokio::time::{Instant, sleep_until, timeout};

/// Strangers kept waiting at once; the oldest makes room for a new one. Each takes so much memory at most, and all this share of it.
const MOST_HELD: usize = 32_768;
const MEMORY_EACH: u64 = 4096;
const MEMORY_SHARE: u64 = 16;
/// Bytes thrown away at a time; on the stack, so that a silent peer costs none.
pub(crate) const DRAIN: usize = 4096;
/// How long the peer gets to end its direction after we ended ours.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everyone who is being kept waiting, oldest first.
pub(crate) struct Held {
    most: usize,
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
    pub(crate) fn among(files: usize, memory: Option<u64>) -> Arc<Self> {
        let in_memory = memory.and_then(|memory| usize::try_from(memory / MEMORY_SHARE / MEMORY_EACH).ok());
        Self::new(MOST_HELD.min(files / 2).min(in_memory.unwrap_or(MOST_HELD)))
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
        Arc::new(Self { most: most.max(1), waiting: Mutex::default() })
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

/// Reads and throws away until the peer ends its direction, but not ending before `not_before`, or until `leave` is
/// ready; then closes in an orderly way.
pub(crate) async fn drain(mut stream: Stream, not_before: Instant, leave: impl Future<Output = ()>) {
    tokio::select! {
        _ = discard(&mut stream) => sleep_until(not_before).await,
        () = leave => close(stream).await,
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
    match poll_fn(|cx| poll_discard(stream, cx)).await {
        // A transport that cannot make sense of its bytes says so once, and throws away what follows.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            poll_fn(|cx| poll_discard(stream, cx)).await
        }
        result => result,
    }
}

fn poll_discard(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut space = [0; DRAIN];
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => {}
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
        let draining = tokio::spawn(drain(Box::new(ours), Instant::now(), pending()));
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
        let draining =
            tokio::spawn(drain(Box::new(ours), Instant::now(), tokio::time::sleep(Duration::from_secs(60))));
        theirs.write_all(&[7; 1000]).await.unwrap();
        let mut answer = [0];
        assert_eq!(theirs.read(&mut answer).await.unwrap(), 0);
        theirs.write_all(&[7; 1000]).await.unwrap();
        drop(theirs);
        draining.await.unwrap();
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
