//! Bulk data with digests, both ends: a line that says what is wanted, the bytes, and their SHA-256 from the end that made or took
//! them. Own format, spoken only between `quickstart` and its built-in origin.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::Instant;

/// Bytes made or taken at once.
const BLOCK: usize = 64 * 1024;

/// The longest line of the format: a verb and a number, or a digest in hex.
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
    #[error("the data was changed on its way: sent {sent}, received {received}")]
    Changed {
        /// Digest at the sending end.
        sent: String,
        /// Digest at the receiving end.
        received: String,
    },
}

/// A finished transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many bytes.
    pub bytes: u64,
    /// From the request to the confirmed digest.
    pub elapsed: Duration,
    /// SHA-256 in hex, the same at both ends.
    pub digest: String,
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
    let digests = async {
        flow.write_all(format!("up {length}\n").as_bytes()).await?;
        let sent = send_pattern(&mut flow, length, |bytes| {
            moved = bytes;
            progress(bytes);
        });
        let sent = sent.await?;
        Ok((sent, read_line(&mut flow).await?))
    };
    let digests = digests.await;
    confirm(digests.map_err(|source| BulkError::Broken { moved, source })?, length, start)
}

/// Takes `length` bytes from the origin at the other end of `flow`. `progress` is told the bytes received so far.
pub async fn download<F>(flow: F, length: u64, mut progress: impl FnMut(u64)) -> Result<Moved, BulkError>
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let start = Instant::now();
    let mut flow = BufReader::with_capacity(BLOCK, flow);
    let mut moved = 0;
    let digests = async {
        flow.write_all(format!("down {length}\n").as_bytes()).await?;
        flow.flush().await?;
        let received = take_digest(&mut flow, length, |bytes| {
            moved = bytes;
            progress(bytes);
        });
        let received = received.await?;
        Ok((read_line(&mut flow).await?, received))
    };
    let digests = digests.await;
    confirm(digests.map_err(|source| BulkError::Broken { moved, source })?, length, start)
}

/// The origin's end of one flow.
pub async fn serve(flow: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut flow = BufReader::with_capacity(BLOCK, flow);
    let request = read_line(&mut flow).await?;
    let digest = match request.split_once(' ').map(|(verb, length)| (verb, length.parse())) {
        Some(("up", Ok(length))) => take_digest(&mut flow, length, |_| {}).await?,
        Some(("down", Ok(length))) => send_pattern(&mut flow, length, |_| {}).await?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "neither `up N` nor `down N`")),
    };
    flow.write_all(format!("{digest}\n").as_bytes()).await?;
    flow.shutdown().await
}

fn confirm((sent, received): (String, String), bytes: u64, start: Instant) -> Result<Moved, BulkError> {
    if sent != received {
        return Err(BulkError::Changed { sent, received });
    }
    Ok(Moved { bytes, elapsed: start.elapsed(), digest: sent })
}

/// Writes `length` bytes of noise that repeats nowhere and returns their digest.
async fn send_pattern(
    sink: &mut (impl AsyncWrite + Unpin),
    length: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<String> {
    let mut digest = Context::new(&SHA256);
    let mut block = noise();
    let (mut sent, mut number) = (0, 0_u64);
    while sent < length {
        // Each block carries its number, so that a block lost or swapped changes the digest.
        number += 1;
        if let Some(front) = block.first_chunk_mut() {
            *front = number.to_be_bytes();
        }
        let part = up_to(&block, length - sent);
        digest.update(part);
        sink.write_all(part).await?;
        sent += part.len() as u64;
        progress(sent);
    }
    sink.flush().await?;
    Ok(hex(digest))
}

async fn take_digest(
    source: &mut (impl AsyncRead + Unpin),
    length: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<String> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; BLOCK];
    let mut received = 0;
    while received < length {
        let room = up_to(&buffer, length - received).len();
        let count = source.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        digest.update(buffer.get(..count).unwrap_or_default());
        received += count as u64;
        progress(received);
    }
    Ok(hex(digest))
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

fn hex(digest: Context) -> String {
    HEXLOWER.encode(digest.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const LENGTH: u64 = 300_001;

    #[tokio::test]
    async fn both_directions_agree_and_report_progress() {
        for direction in ["up", "down"] {
            let (near, far) = duplex(10_000);
            let server = tokio::spawn(serve(far));
            let mut last = 0;
            let moved = match direction {
                "up" => upload(near, LENGTH, |bytes| last = bytes).await,
                _ => download(near, LENGTH, |bytes| last = bytes).await,
            };
            let moved = moved.unwrap();
            assert_eq!((moved.bytes, last, moved.digest.len()), (LENGTH, LENGTH, 64), "{direction}");
            server.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_changed_byte_is_noticed() {
        let (near, mut far) = duplex(1 << 20);
        tokio::spawn(async move {
            let mut sent = Vec::new();
            send_pattern(&mut sent, 1000, |_| {}).await.unwrap();
            let digest = take_digest(&mut sent.as_slice(), 1000, |_| {}).await.unwrap();
            sent[500] ^= 1;
            far.write_all(&sent).await.unwrap();
            far.write_all(format!("{digest}\n").as_bytes()).await.unwrap();
        });
        assert!(matches!(download(near, 1000, |_| {}).await, Err(BulkError::Changed { .. })));
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
