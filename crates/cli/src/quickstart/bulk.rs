//! Bulk data that both ends know, so that every byte is checked where it arrives: a line that says what is wanted, the bytes, and
//! the word of the end that took them. Own format, spoken only between `quickstart` and its built-in origin.
//!
//! Comparing costs a tenth of what a digest does, and a speed test should not measure digests.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::Instant;

/// Bytes made or taken at once.
const BLOCK: usize = 64 * 1024;

/// The longest line of the format: a verb and a number.
const LONGEST_LINE: u64 = 100;

/// Why a transfer is not what it has to be.
#[derive(Debug, Error)]
pub enum BulkError {
    /// The flow broke: the tunnel or the other end closed it.
    #[error("the flow broke after {moved} bytes: {source}")]
    Broken {
        /// Bytes moved before.
        moved: u64,
        /// What the flow said.
        source: io::Error,
    },
    /// All bytes came, but not as they were sent.
    #[error("the data was changed on its way, near byte {at}")]
    Changed {
        /// About where the first difference is.
        at: u64,
    },
}

/// A finished transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many bytes.
    pub bytes: u64,
    /// From the request to the last byte's check.
    pub elapsed: Duration,
}

impl Moved {
    /// Megabytes (of 10^6) per second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Sends `length` bytes to the origin at the other end of `flow`. `progress` is told the bytes sent so far.
pub async fn upload<F>(flow: F, length: u64, mut progress: impl FnMut(u64)) -> Result<Moved, BulkError>
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let mut flow = BufReader::new(flow);
    let mut moved = 0;
    let answer = async {
        flow.write_all(format!("up {length}\n").as_bytes()).await?;
        let sent = send_pattern(&mut flow, length, |bytes| {
            moved = bytes;
            progress(bytes);
        });
        sent.await?;
        read_line(&mut flow).await
    };
    let answer = answer.await.map_err(|source| BulkError::Broken { moved, source })?;
    match answer.strip_prefix("differs ").and_then(|at| at.parse().ok()) {
        Some(at) => Err(BulkError::Changed { at }),
        None => Ok(Moved { bytes: length, elapsed: start.elapsed() }),
    }
}

/// Takes `length` bytes from the origin at the other end of `flow`. `progress` is told the bytes received so far.
pub async fn download<F>(flow: F, length: u64, mut progress: impl FnMut(u64)) -> Result<Moved, BulkError>
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let mut flow = BufReader::with_capacity(BLOCK, flow);
    let mut moved = 0;
    let difference = async {
        flow.write_all(format!("down {length}\n").as_bytes()).await?;
        flow.flush().await?;
        let taken = take_pattern(&mut flow, length, |bytes| {
            moved = bytes;
            progress(bytes);
        });
        taken.await
    };
    let difference = difference.await.map_err(|source| BulkError::Broken { moved, source })?;
    match difference {
        Some(at) => Err(BulkError::Changed { at }),
        None => Ok(Moved { bytes: length, elapsed: start.elapsed() }),
    }
}

/// The origin's end of one flow.
pub async fn serve(flow: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut flow = BufReader::with_capacity(BLOCK, flow);
    let request = read_line(&mut flow).await?;
    match request.split_once(' ').map(|(verb, length)| (verb, length.parse())) {
        Some(("up", Ok(length))) => {
            let answer = match take_pattern(&mut flow, length, |_| {}).await? {
                Some(at) => format!("differs {at}\n"),
                None => "same\n".to_owned(),
            };
            flow.write_all(answer.as_bytes()).await?;
        }
        Some(("down", Ok(length))) => send_pattern(&mut flow, length, |_| {}).await?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "neither `up N` nor `down N`")),
    }
    flow.shutdown().await
}

/// Noise in blocks, each with its number in front, so that a block lost or swapped is noticed.
struct Pattern {
    block: Vec<u8>,
    number: u64,
}

impl Pattern {
    fn new() -> Self {
        let mut pattern = Self { block: noise(), number: 0 };
        pattern.set_number(0);
        pattern
    }

    fn set_number(&mut self, number: u64) {
        self.number = number;
        if let Some(front) = self.block.first_chunk_mut() {
            *front = number.to_be_bytes();
        }
    }

    /// The bytes from `at` to the end of their block.
    fn from(&mut self, at: u64) -> &[u8] {
        let (number, offset) = (at / BLOCK as u64, at % BLOCK as u64);
        if number != self.number {
            self.set_number(number);
        }
        usize::try_from(offset).ok().and_then(|offset| self.block.get(offset..)).unwrap_or_default()
    }
}

/// Writes `length` bytes of the pattern.
async fn send_pattern(
    sink: &mut (impl AsyncWrite + Unpin),
    length: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let mut pattern = Pattern::new();
    let mut sent = 0;
    while sent < length {
        let part = up_to(pattern.from(sent), length - sent);
        sink.write_all(part).await?;
        sent += part.len() as u64;
        progress(sent);
    }
    sink.flush().await
}

/// Reads `length` bytes and compares them with the pattern; says near which byte the first difference is.
async fn take_pattern(
    source: &mut (impl AsyncRead + Unpin),
    length: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<Option<u64>> {
    let mut pattern = Pattern::new();
    let mut buffer = vec![0; BLOCK];
    let (mut received, mut difference) = (0, None);
    while received < length {
        let room = up_to(pattern.from(received), length - received).len();
        let count = source.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if difference.is_none() && buffer.get(..count) != pattern.from(received).get(..count) {
            difference = Some(received);
        }
        received += count as u64;
        progress(received);
    }
    Ok(difference)
}

async fn read_line(flow: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    flow.take(LONGEST_LINE).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn up_to(block: &[u8], left: u64) -> &[u8] {
    let count = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
    block.get(..count).unwrap_or_default()
}

/// One block of xorshift64* output: nothing that a compressing or deduplicating hop could shorten.
fn noise() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        block.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const LENGTH: u64 = 300_001;

    #[tokio::test]
    async fn both_directions_arrive_and_report_progress() {
        for direction in ["up", "down"] {
            let (near, far) = duplex(10_000);
            let server = tokio::spawn(serve(far));
            let mut last = 0;
            let moved = match direction {
                "up" => upload(near, LENGTH, |bytes| last = bytes).await,
                _ => download(near, LENGTH, |bytes| last = bytes).await,
            };
            assert_eq!((moved.unwrap().bytes, last), (LENGTH, LENGTH), "{direction}");
            server.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_changed_byte_is_noticed_either_way() {
        for at in [0, 500, 65_536, 199_999] {
            let mut sent = Vec::new();
            send_pattern(&mut sent, 200_000, |_| {}).await.unwrap();
            sent[at] ^= 1;
            let (near, mut far) = duplex(1 << 20);
            far.write_all(&sent).await.unwrap();
            assert!(matches!(download(near, 200_000, |_| {}).await, Err(BulkError::Changed { .. })), "{at}");

            let (mut near, far) = duplex(1 << 20);
            near.write_all(b"up 200000\n").await.unwrap();
            near.write_all(&sent).await.unwrap();
            serve(far).await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("differs "), "{at}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_lost_block_is_noticed() {
        let mut sent = Vec::new();
        send_pattern(&mut sent, 3 * BLOCK as u64, |_| {}).await.unwrap();
        sent.drain(..BLOCK);
        let difference = take_pattern(&mut sent.as_slice(), 2 * BLOCK as u64, |_| {}).await.unwrap();
        assert_eq!(difference, Some(0));
    }

    #[tokio::test]
    async fn an_early_end_says_how_far_it_came() {
        let (near, mut far) = duplex(1 << 20);
        tokio::spawn(async move { far.write_all(&[7; 400]).await.unwrap() });
        assert!(matches!(download(near, 1000, |_| {}).await, Err(BulkError::Broken { moved: 400, .. })));
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        for request in
            ["sideways 5\n", "up\n", "up -1\n", "down 99999999999999999999\n", "up 5", &"x".repeat(200)]
        {
            let (mut near, far) = duplex(1000);
            near.write_all(request.as_bytes()).await.unwrap();
            near.shutdown().await.unwrap();
            assert!(serve(far).await.is_err(), "{request:?}");
        }
    }
}
