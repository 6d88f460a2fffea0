//! One application's connection to the SOCKS proxy: handshake, opening of the flow, relay. Not the messages: see
//! `socks.rs`.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HANDSHAKE_TIMEOUT;
use super::early::{EarlyFlows, hung_up};
use super::relay::relay_socket;
use super::socks::{self, Opening, ReplyCode, SocksError, Version};
use crate::flow::Destination;
use crate::notice::{FreeText, Notice};

/// Serves SOCKS connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    flows: EarlyFlows,
}

/// Why a handshake ended early.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error(transparent)]
    Socks(#[from] SocksError),
    #[error("the application left: {0}")]
    Io(#[from] io::Error),
}

impl Session {
    pub(super) fn new(flows: EarlyFlows) -> Self {
        Self { flows }
    }

    /// Serves one connection to its end.
    pub(super) async fn run(self, mut stream: TcpStream) {
        // Small writes of interactive applications must not wait for acknowledgements.
        drop(stream.set_nodelay(true));
        let mut received = Vec::new();
        let handshake = timeout(HANDSHAKE_TIMEOUT, handshake(&mut stream, &mut received)).await;
        match handshake {
            Ok(Ok((version, destination))) => self.connect(stream, (version, destination), received).await,
            Ok(Err(HandshakeError::Socks(error))) => {
                let message = FreeText::new(format!("SOCKS proxy: {error}"));
                self.flows.notices.emit(Notice::LocalProxyError { message });
                refuse(stream, &error.answer()).await;
            }
            // The application left, or said nothing in time: nobody is there to be answered.
            Ok(Err(HandshakeError::Io(_))) | Err(_) => {}
        }
    }

    async fn connect(self, mut stream: TcpStream, wanted: (Version, Destination), early: Vec<u8>) {
        let (version, destination) = wanted;
        if self.flows.opener.carries_first_bytes() {
            if stream.write_all(&socks::reply(version, ReplyCode::Succeeded)).await.is_ok() {
                self.flows.carry(stream, destination, early).await;
            }
            return;
        }
        let opened = tokio::select! {
            opened = self.flows.opener.open(destination) => opened,
            // An application that gives up while its flow is held frees the place in the queue.
            () = hung_up(&stream) => return,
        };
        let mut flow = match opened {
            Ok(flow) => flow,
            Err(failure) => {
                self.flows.tell(&failure);
                return refuse(stream, &socks::reply(version, ReplyCode::from(&failure))).await;
            }
        };
        let carried = async {
            stream.write_all(&socks::reply(version, ReplyCode::Succeeded)).await?;
            // An application may send before it has seen the reply.
            flow.write_all(&early).await?;
            relay_socket(stream, flow).await
        };
        // A failure resets the application's connection: it learns that bytes may be missing.
        drop(carried.await);
    }
}

/// Reads until the destination is known. Bytes after the request stay in `received`.
async fn handshake(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Result<(Version, Destination), HandshakeError> {
    match read_message(stream, received, socks::parse_opening).await? {
        Opening::V4(destination) => Ok((Version::V4, destination)),
        Opening::V5 => {
            stream.write_all(&socks::METHOD_CHOSEN).await?;
            let destination = read_message(stream, received, socks::parse_request).await?;
            Ok((Version::V5, destination))
        }
    }
}

async fn read_message<T>(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    parse: fn(&[u8]) -> socks::Parsed<T>,
) -> Result<T, HandshakeError> {
    loop {
        if let Some((used, message)) = parse(received)? {
            received.drain(..used);
            return Ok(message);
        }
        let mut chunk = [0; socks::LONGEST_MESSAGE];
        // The parsers refuse what is longer than any valid message, so this stays below two of them.
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        received.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// Answers and closes so that the answer arrives: unread bytes would turn the close into a reset.
async fn refuse(mut stream: TcpStream, answer: &[u8]) {
    let refused = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut rest = [0; 256];
        for _ in 0..64 {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    drop(timeout(std::time::Duration::from_secs(1), refused).await);
}
