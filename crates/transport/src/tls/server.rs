//! The TLS server behind a ClientHello that was judged. Its certificate is made at start and signed by itself: clients know the server by its
//! SSH key. Source: TRANSPORTS.md 1.1, 1.7.

use std::io;
use std::time::SystemTime;

use culvert_tls::{HelloMessage, Progress, Server, ServerSettings, TicketSecret, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client_hello::HelloReader;
use super::stream::TlsStream;
use super::{Connected, TlsFacts};
use crate::Stream;

pub use culvert_tls::ServerError;

/// Bytes read at a time before the handshake is done.
const PIECE: usize = 4 * 1024;
/// What meek is carried in. TRANSPORTS.md 1.1: clients of shared ports expect this one.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Cheap to share.
#[derive(Clone, Debug)]
pub struct TlsServer(Server);

impl TlsServer {
    /// For TLS-OSSH alone: TLS 1.3, with a fresh certificate for `name`, and tickets that clients make from `secret`.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn new(name: &str, secret: Option<TicketSecret>) -> Result<Self, ServerError> {
        Self::with(name, Versions::Only13, secret, &[HTTP_1_1])
    }

    /// For meek over HTTPS, and what shares its port: TLS 1.2, too, and tickets that clients make from a secret. `alpn` has the application
    /// protocols that are served, best first.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn for_meek(name: &str, secret: Option<TicketSecret>, alpn: &[&[u8]]) -> Result<Self, ServerError> {
        Self::with(name, Versions::From12, secret, alpn)
    }

    fn with(
        name: &str,
        versions: Versions,
        ticket_secret: Option<TicketSecret>,
        alpn: &[&[u8]],
    ) -> Result<Self, ServerError> {
        let alpn = alpn.iter().map(|name| name.to_vec()).collect();
        Server::new(ServerSettings { name: name.to_owned(), alpn, versions, ticket_secret }).map(Self)
    }

    /// Completes the handshake that `hello` begins.
    ///
    /// # Errors
    /// The peer or the network broke it off, or the peer offers nothing that is supported here.
    pub async fn accept(&self, hello: HelloReader, mut stream: Stream) -> io::Result<Connected> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let message = HelloMessage::read(hello.message()).map_err(invalid)?;
        let mut handshake = self.0.accept(&message, now).map_err(invalid)?;
        let mut received = hello.into_received();
        loop {
            let mut flight = Vec::new();
            let progress =
                handshake.advance(&mut received, |record| flight.extend(record)).map_err(invalid)?;
            if progress == Progress::Done {
                let established = handshake.finish().map_err(invalid)?;
                let facts = TlsFacts { is_tls13: established.is_tls13, resumed: established.resumed };
                let stream = TlsStream::new(stream, established.records, flight, received);
                return Ok(Connected { stream: Box::new(stream), alpn: established.alpn, facts });
            }
            stream.write_all(&flight).await?;
            stream.flush().await?;
            let before = received.len();
            received.resize(before + PIECE, 0);
            let read = stream.read(received.get_mut(before..).unwrap_or_default()).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.truncate(before + read);
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
