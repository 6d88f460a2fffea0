//! The server's side. Nothing is sent before the client's first chunk has proved that it has the key; who has not gets the same
//! silence whatever was wrong, which is the caller's to keep.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::stream::{Input, ShadowsocksStream};
use super::wire::{DRAWN_LEN, Key, Opener, SALT_LEN, Salt};
use crate::Stream;

/// A client that has proved that it has the key.
pub struct Greeting {
    /// For the history: the same salt twice is a replay.
    pub salt: Salt,
    opener: Opener,
    input: Input,
}

/// Why there is no client. All are to be treated alike.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The peer does not have the key.
    #[error("invalid Shadowsocks salt or chunk")]
    Forged,
    /// The peer sends what the server itself sent once.
    #[error("reflected Shadowsocks salt")]
    Reflected,
    /// The peer has ended its direction.
    #[error("the peer left")]
    Ended,
    /// The connection broke.
    #[error("network: {0}")]
    Network(#[source] io::Error),
}

/// Waits for the first chunk, without end if it must be.
pub async fn greet(stream: &mut Stream, key: &Key) -> Result<Greeting, Refused> {
    let mut hello = Hello { input: Input::default(), opener: None };
    poll_fn(|cx| hello.poll(stream, key, cx)).await?;
    match hello.opener {
        Some((opener, salt)) => Ok(Greeting { salt, opener, input: hello.input }),
        None => Err(Refused::Ended),
    }
}

impl Greeting {
    /// What the client says, from its first chunk on. `drawn` is random and must never be used again.
    pub fn into_stream(self, stream: Stream, key: &Key, drawn: [u8; DRAWN_LEN]) -> Stream {
        let own = Salt::of_server(drawn, key);
        Box::new(ShadowsocksStream::of_server(stream, key, &own, self.opener, self.input))
    }
}

/// A connection before its first chunk.
struct Hello {
    input: Input,
    opener: Option<(Opener, Salt)>,
}

impl Hello {
    fn poll(&mut self, stream: &mut Stream, key: &Key, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        while !self.look(key)? {
            if ready!(self.input.poll_fill(stream, cx)).map_err(Refused::Network)? == 0 {
                return Poll::Ready(Err(Refused::Ended));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the first chunk is there and authentic.
    fn look(&mut self, key: &Key) -> Result<bool, Refused> {
        loop {
            let Some((opener, _)) = &mut self.opener else {
                let Some(salt) = self.input.unread().first_chunk::<SALT_LEN>() else { return Ok(false) };
                let salt = Salt::from_bytes(*salt);
                if salt.is_of_server(key) {
                    return Err(Refused::Reflected);
                }
                self.input.consume(SALT_LEN);
                self.opener = Some((Opener::new(key, &salt), salt));
                continue;
            };
            let more = self.input.open(opener).map_err(|_| Refused::Forged)?;
            if self.input.has_payload() || !more {
                return Ok(more);
            }
        }
    }
}
