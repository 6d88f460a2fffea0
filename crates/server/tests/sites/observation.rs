//! What a prober sees of one connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, sleep, timeout};

/// Nobody of those asked keeps a connection for so long.
const PATIENCE: Duration = Duration::from_secs(9);
/// Times closer to each other are one.
const TOLERANCE: Duration = Duration::from_millis(700);

/// How a probe is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// At once, and then nothing.
    Whole,
    /// At once, and then the end of this direction.
    HalfClosed,
    /// The first bytes, and the others when they were looked at.
    InPieces,
}

impl Manner {
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::HalfClosed, Self::InPieces];
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Reset,
    /// Not in time.
    None,
}

/// Of one connection.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Lengths of the records or, where it is not TLS, the whole.
    answer: Vec<usize>,
    /// Time of the first byte of it.
    pub(crate) answered: Option<Duration>,
    end: End,
    ended: Duration,
}

impl Observation {
    /// Whether a prober cannot tell one from the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.answer == other.answer && self.end == other.end && self.ended.abs_diff(other.ended) < TOLERANCE
    }
}

/// Sends a probe and watches.
pub(crate) async fn observe(address: SocketAddr, bytes: Vec<u8>, manner: Manner) -> Observation {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let began = Instant::now();
    let (mut reading, writing) = stream.into_split();
    let sending = tokio::spawn(send(writing, bytes, manner));
    let (mut answer, mut answered) = (Vec::new(), None);
    let watching = async {
        let mut piece = [0; 4096];
        loop {
            match reading.read(&mut piece).await {
                Ok(0) => return End::Orderly,
                Ok(count) => {
                    answered.get_or_insert_with(|| began.elapsed());
                    answer.extend_from_slice(&piece[..count]);
                }
                Err(_) => return End::Reset,
            }
        }
    };
    let end = timeout(PATIENCE, watching).await.unwrap_or(End::None);
    let ended = began.elapsed();
    drop(sending.await.unwrap());
    Observation { answer: shape(&answer), answered, end, ended }
}

/// The half is given back, since dropping it would end the direction. What the peer no longer takes is no matter.
async fn send(mut writing: OwnedWriteHalf, bytes: Vec<u8>, manner: Manner) -> OwnedWriteHalf {
    let sending = async {
        match manner {
            Manner::Whole => writing.write_all(&bytes).await,
            Manner::HalfClosed => {
                writing.write_all(&bytes).await?;
                writing.shutdown().await
            }
            Manner::InPieces => {
                let (head, tail) = bytes.split_at(bytes.len().min(3));
                writing.write_all(head).await?;
                sleep(Duration::from_millis(300)).await;
                writing.write_all(tail).await
            }
        }
    };
    let _ = timeout(PATIENCE, sending).await;
    writing
}

/// What does not change from one connection to the next.
fn shape(answer: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut rest = answer;
    while let [20..=23, 3, _, high, low, ..] = rest {
        let length = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length.min(rest.len()));
        rest = rest.get(length..).unwrap_or_default();
    }
    lengths.push(rest.len());
    lengths
}
