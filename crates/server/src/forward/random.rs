//! Random streams: a client tries out a tunnel with bytes that mean nothing. Source: PROTOCOL.md 7.3.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use culvert_protocol::api::RandomStream;
use culvert_ssh_tokio::{ChannelStream, IncomingChannel};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// The most bytes of one direction.
const MOST: i64 = 10 * 1024 * 1024;
const PIECE: usize = 16 * 1024;

/// What a client wants of a random stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    up: usize,
    down: usize,
}

/// What streams asked for and what they moved, for a tunnel's report.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    count: AtomicU64,
    up: AtomicU64,
    received: AtomicU64,
    down: AtomicU64,
    sent: AtomicU64,
}

impl Moved {
    /// Each under the reference's name, behind what tells when they were; nothing if there were none.
    pub(crate) fn fields(&self, prefix: &str) -> Vec<(String, u64)> {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        if number(&self.count) == 0 {
            return Vec::new();
        }
        let all = [
            ("count", &self.count),
            ("upstream_bytes", &self.up),
            ("received_upstream_bytes", &self.received),
            ("downstream_bytes", &self.down),
            ("sent_downstream_bytes", &self.sent),
        ];
        all.map(|(name, counter)| (format!("{prefix}random_stream_{name}"), number(counter))).into()
    }

    fn add(counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The sizes that a channel open asks for; `None` if they are malformed or too large.
pub(crate) fn parse(payload: &[u8]) -> Option<Sizes> {
    let asked = RandomStream::from_json(payload).ok()?;
    let size = |bytes: i64| usize::try_from(bytes).ok().filter(|_| bytes <= MOST);
    Some(Sizes { up: size(asked.upstream_bytes)?, down: size(asked.downstream_bytes)? })
}

/// Sends and discards what was asked for, then closes.
pub(crate) async fn serve(channel: IncomingChannel, sizes: Sizes, moved: &Moved) {
    let Some(stream) = channel.accept() else { return };
    Moved::add(&moved.count, 1);
    Moved::add(&moved.up, sizes.up);
    Moved::add(&moved.down, sizes.down);
    let (reader, writer) = tokio::io::split(stream);
    // An error is the tunnel's end.
    let _ =
        tokio::try_join!(send(writer, sizes.down, &moved.sent), discard(reader, sizes.up, &moved.received));
}

async fn send(
    mut to: WriteHalf<ChannelStream>,
    mut bytes: usize,
    sent: &AtomicU64,
) -> io::Result<WriteHalf<ChannelStream>> {
    let mut piece = vec![0; PIECE];
    while bytes > 0 {
        let length = bytes.min(PIECE);
        let piece = piece.get_mut(..length).unwrap_or_default();
        aws_lc_rs::rand::fill(piece).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
        to.write_all(piece).await?;
        Moved::add(sent, length);
        bytes -= length;
    }
    Ok(to)
}

async fn discard(
    mut from: ReadHalf<ChannelStream>,
    mut bytes: usize,
    received: &AtomicU64,
) -> io::Result<ReadHalf<ChannelStream>> {
    let mut piece = vec![0; PIECE];
    while bytes > 0 {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        Moved::add(received, read);
        bytes = bytes.saturating_sub(read);
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(parse(br#"{"u":10,"d":20}"#), Some(Sizes { up: 10, down: 20 }));
        assert_eq!(parse(br#"{"d":10485760}"#), Some(Sizes { up: 0, down: 10_485_760 }));
        for payload in ["x", "", r#"{"u":10485761}"#, r#"{"d":10485761}"#, r#"{"u":-1}"#, r#"{"u":"1"}"#] {
            assert_eq!(parse(payload.as_bytes()), None, "{payload}");
        }
    }
}
