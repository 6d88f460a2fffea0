//! Does a new tunnel carry anything? Random bytes both ways before it counts: some networks let a connection begin and
//! then starve it. Which test a tunnel gets is a parameter.
//!
//! Source: PROTOCOL.md 7.3.

use std::io;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::api::RandomStream;
use culvert_protocol::parameters::LivenessTest;
use culvert_ssh_tokio::{ChannelStream, Handle, OpenFailure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

const CHANNEL: &str = "random@psiphon.ca";
/// How much is written or read at once.
const PIECE: usize = 16 * 1024;

/// Why a tunnel is taken for dead.
#[derive(Debug, thiserror::Error)]
pub enum LivenessError {
    /// The server would not have the test.
    #[error("the server refused the liveness test: {0}")]
    Refused(OpenFailure),
    /// The tunnel did not outlive it.
    #[error("the tunnel ended in the liveness test: {0}")]
    Ended(#[from] io::Error),
    /// The server stopped before it had sent what was asked for.
    #[error("the server ended the liveness test {missing} bytes early")]
    Short {
        /// What was still to come.
        missing: u64,
    },
}

/// Bytes of one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) up: u32,
    pub(crate) down: u32,
}

impl Sizes {
    /// Draws the sizes of a test: first what is sent, then what is received.
    pub(crate) fn drawn(test: &LivenessTest, seed: &Seed) -> Self {
        let mut prng = Prng::new(seed);
        Self {
            up: prng.range_u32(test.min_upstream_bytes, test.max_upstream_bytes),
            down: prng.range_u32(test.min_downstream_bytes, test.max_downstream_bytes),
        }
    }

    /// Nothing is tested.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Moves the bytes through a tunnel that has logged in and not yet made its handshake. Whoever calls sets the time limit.
pub(crate) async fn test(handle: &Handle, sizes: Sizes, seed: &Seed) -> Result<(), LivenessError> {
    if sizes.is_none() {
        return Ok(());
    }
    let asked = RandomStream { upstream_bytes: sizes.up.into(), downstream_bytes: sizes.down.into() };
    let opened = handle.open(CHANNEL, asked.to_json().as_bytes()).await;
    let (reader, writer) = tokio::io::split(opened.map_err(LivenessError::Refused)?);
    let up = async { Ok(send(writer, sizes.up, Prng::new(seed)).await?) };
    // Both halves are kept until both are done: dropping them closes the channel.
    let (_writer, _reader) = tokio::try_join!(up, receive(reader, sizes.down))?;
    Ok(())
}

async fn send(
    mut to: WriteHalf<ChannelStream>,
    bytes: u32,
    mut random: Prng,
) -> io::Result<WriteHalf<ChannelStream>> {
    let mut piece = vec![0; PIECE];
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let part = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
        random.fill(part);
        to.write_all(part).await?;
        left -= part.len();
    }
    Ok(to)
}

async fn receive(
    mut from: ReadHalf<ChannelStream>,
    bytes: u32,
) -> Result<ReadHalf<ChannelStream>, LivenessError> {
    let mut piece = vec![0; PIECE];
    let mut missing = u64::from(bytes);
    while missing > 0 {
        match from.read(&mut piece).await? {
            0 => return Err(LivenessError::Short { missing }),
            count => missing = missing.saturating_sub(count as u64),
        }
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_within_the_test_and_of_the_seed() {
        let test = LivenessTest {
            min_upstream_bytes: 100,
            max_upstream_bytes: 200,
            min_downstream_bytes: 5000,
            max_downstream_bytes: 9000,
        };
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..32 {
            let seed = Seed::from_bytes([number; 32]);
            let sizes = Sizes::drawn(&test, &seed);
            assert!((100..=200).contains(&sizes.up) && (5000..=9000).contains(&sizes.down), "{sizes:?}");
            assert_eq!(sizes, Sizes::drawn(&test, &seed));
            seen.insert((sizes.up, sizes.down));
        }
        assert!(seen.len() > 16, "{seen:?}");
        assert!(Sizes::drawn(&LivenessTest::default(), &Seed::from_bytes([1; 32])).is_none());
    }
}
