//! A network whose connections go through a proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::wire::{self, Fresh, Handshake, Step};
use super::{CustomHeaders, ProxyUrl, Scheme, UpstreamError};
use crate::{BoxFuture, Datagrams, Endpoint, Forwarder, Login, Network, Stream};

/// Bytes read at a time.
const PIECE: usize = 4096;

/// Connects through a proxy of the user's. Names are not resolved here but sent to the proxy.
pub struct UpstreamProxy {
    network: Arc<dyn Network>,
    proxy: ProxyUrl,
    headers: CustomHeaders,
}

impl UpstreamProxy {
    /// Reaches the proxy over `network`, which resolves the proxy's own name.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, proxy: ProxyUrl, headers: CustomHeaders) -> Self {
        Self { network, proxy, headers }
    }

    async fn reach(&self) -> Result<Stream, UpstreamError> {
        self.network.connect(&self.proxy.endpoint).await.map_err(UpstreamError::Unreachable)
    }

    async fn through(&self, to: &Endpoint) -> Result<Stream, UpstreamError> {
        let mut random = [0; Fresh::LEN];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| UpstreamError::Random)?;
        let fresh = Fresh { random, now: SystemTime::now() };
        let mut handshake = Handshake::new(&self.proxy, to, &self.headers, fresh)?;
        let mut stream = self.reach().await?;
        let mut received = BytesMut::new();
        loop {
            match handshake.step(&mut received)? {
                Step::Write(bytes) => {
                    stream.write_all(&bytes).await.map_err(UpstreamError::Broken)?;
                    stream.flush().await.map_err(UpstreamError::Broken)?;
                }
                Step::Read => {
                    received.reserve(PIECE);
                    let read = stream.read_buf(&mut received).await.map_err(UpstreamError::Broken)?;
                    if read == 0 && !handshake.takes_end() {
                        return Err(UpstreamError::Broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Step::Reconnect => {
                    received.clear();
                    stream = self.reach().await?;
                }
                Step::Connected if received.is_empty() => return Ok(stream),
                // The server spoke first, and the proxy sent that along.
                Step::Connected => return Ok(Box::new(Begun { received, stream })),
            }
        }
    }
}

impl Network for UpstreamProxy {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move { Ok(self.through(to).await?) })
    }

    fn datagrams(&self, _to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(async { Err(UpstreamError::NoDatagrams.into()) })
    }

    /// An HTTP proxy may let applications have requests, but tunnels to some ports only. A login that needs a challenge would need one
    /// for each request: such proxies are asked without, and refuse.
    fn forwarder(&self) -> BoxFuture<'_, io::Result<Option<Forwarder>>> {
        Box::pin(async {
            if self.proxy.scheme != Scheme::Http {
                return Ok(None);
            }
            let login =
                self.proxy.credentials.as_ref().map(|credentials| Login::new(wire::basic(credentials)));
            Ok(Some(Forwarder { stream: self.reach().await?, login }))
        })
    }

    /// Only what uses datagrams needs addresses.
    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(UpstreamError::NoDatagrams.into()) })
    }
}

/// A stream of which something was read already.
struct Begun {
    received: BytesMut,
    stream: Stream,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let len = self.received.len().min(to.remaining());
        to.put_slice(self.received.get(..len).unwrap_or_default());
        self.received.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
