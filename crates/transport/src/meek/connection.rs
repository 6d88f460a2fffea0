//! One connection to the server or its front, and one exchange at a time on it. Heads of HTTP/1.1 requests are written here as
//! bytes, because their look matters; HTTP/2, which is only ever seen inside TLS, is left to a library.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::SET_COOKIE;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::task::JoinHandle;

use super::forwarded::Forwarded;
use super::request::{BadHead, HeadWriter, RequestLook, RequestPart};
use super::response::{BadResponse, Body, Piece, ResponseHead, cookie_value};
use crate::Stream;
use crate::quic::{Http3, Http3Error};

/// Room for one read.
const READ: usize = 64 * 1024;

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The connection.
    #[error("the connection to the server was lost: {0}")]
    Network(#[from] io::Error),
    /// What came back.
    #[error(transparent)]
    Response(#[from] BadResponse),
    /// HTTP/2.
    #[error("HTTP/2: {0}")]
    Http2(#[from] hyper::Error),
    /// HTTP/3.
    #[error(transparent)]
    Http3(#[from] Http3Error),
    /// What was to be sent.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// The same, in HTTP/2.
    #[error("the request's headers are none of HTTP/2: {0}")]
    Headers(#[from] hyper::http::Error),
}

/// The beginning of a response.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The new value of the session's cookie.
    pub(super) cookie: Option<String>,
}

/// A connection that is up.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Box<Http2>),
    Http3(Box<Http3>),
}

/// HTTP/1.1, as bytes.
pub(super) struct Http1 {
    stream: Stream,
    /// Received and not understood yet.
    input: BytesMut,
    /// What is written in one go: a head, and the body behind it.
    output: Vec<u8>,
    body: Option<Body>,
    keep_alive: bool,
    /// A proxy is to send requests on.
    forwarded: Option<Forwarded>,
}

/// HTTP/2.
pub(super) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    response: Option<Incoming>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// HTTP/1.1 on a fresh stream.
    pub(super) fn http1(stream: Stream) -> Self {
        Self::Http1(Http1::new(stream, None))
    }

    /// The same, to a proxy.
    pub(super) fn forwarded(stream: Stream, forwarded: Forwarded) -> Self {
        Self::Http1(Http1::new(stream, Some(forwarded)))
    }

    /// HTTP/2 on a fresh stream.
    pub(super) async fn http2(stream: Stream) -> Result<Self, ExchangeError> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Its failures reach the exchanges.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self::Http2(Box::new(Http2 { sender, response: None, driver })))
    }

    /// Whether another request can be sent.
    pub(super) async fn is_usable(&mut self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_usable().await,
            Self::Http2(http2) => !http2.sender.is_closed(),
            Self::Http3(http3) => http3.is_usable(),
        }
    }

    /// Sends a request and waits for the beginning of the response.
    pub(super) async fn ask(
        &mut self,
        head: &HeadWriter,
        part: RequestPart<'_>,
        body: Bytes,
    ) -> Result<Answer, ExchangeError> {
        match self {
            Self::Http1(http1) => http1.ask(head, part, &body).await,
            Self::Http2(http2) => http2.ask(head, part, body).await,
            Self::Http3(http3) => {
                let request = request(head.look(), part).body(())?;
                let response = http3.ask(request, body).await?;
                Ok(answer(&response, head.look()))
            }
        }
    }

    /// The next piece of the response; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        match self {
            Self::Http1(http1) => http1.piece().await,
            Self::Http2(http2) => http2.piece().await,
            Self::Http3(http3) => Ok(http3.piece().await?),
        }
    }

    /// Frees what is not needed until the next request.
    pub(super) fn rest(&mut self) {
        if let Self::Http1(http1) = self {
            http1.output = Vec::new();
            if http1.input.is_empty() {
                http1.input = BytesMut::new();
            }
        }
    }
}

impl Http1 {
    fn new(stream: Stream, forwarded: Option<Forwarded>) -> Self {
        let (input, output) = (BytesMut::new(), Vec::new());
        Self { stream, input, output, body: None, keep_alive: true, forwarded }
    }

    /// A connection on which something was received, if only its end, while nothing was asked, is none to ask on.
    async fn is_usable(&mut self) -> bool {
        if !self.keep_alive || self.body.is_some() || !self.input.is_empty() {
            return false;
        }
        let mut byte = [0];
        poll_fn(|cx| {
            let mut room = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut self.stream).poll_read(cx, &mut room).is_pending())
        })
        .await
    }

    async fn ask(
        &mut self,
        head: &HeadWriter,
        part: RequestPart<'_>,
        body: &[u8],
    ) -> Result<Answer, ExchangeError> {
        self.output.clear();
        head.write(part, &mut self.output)?;
        if let Some(forwarded) = &self.forwarded {
            forwarded.rewrite(&mut self.output);
        }
        self.output.extend_from_slice(body);
        // Until the response has ended.
        self.keep_alive = false;
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        loop {
            if let Some(answer) = ResponseHead::take(&mut self.input, &head.look().cookie_name)? {
                self.body = Some(answer.body);
                self.keep_alive = answer.keep_alive;
                return Ok(Answer { status: answer.status, cookie: answer.cookie });
            }
            if self.receive().await? == 0 {
                return Err(BadResponse::Truncated.into());
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            match body.take(&mut self.input)? {
                Piece::Data(bytes) => return Ok(Some(bytes)),
                Piece::End => {
                    self.body = None;
                    return Ok(None);
                }
                Piece::Wanting => {
                    if self.receive().await? == 0 {
                        let end = self.body.take().map_or(Ok(()), |body| body.at_end());
                        end?;
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn receive(&mut self) -> io::Result<usize> {
        self.input.reserve(READ);
        self.stream.read_buf(&mut self.input).await
    }
}

impl Http2 {
    async fn ask(
        &mut self,
        head: &HeadWriter,
        part: RequestPart<'_>,
        body: Bytes,
    ) -> Result<Answer, ExchangeError> {
        let request = request(head.look(), part);
        // A response that was given up is reset.
        self.response = None;
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let answer = answer(&response, head.look());
        self.response = Some(response.into_body());
        Ok(answer)
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        while let Some(frame) = response.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        self.response = None;
        Ok(None)
    }
}

/// The head of a request, for the libraries.
fn request(look: &RequestLook, part: RequestPart<'_>) -> hyper::http::request::Builder {
    let mut request = hyper::Request::post(format!("https://{}/", look.host));
    for (name, value) in look.headers(part) {
        request = request.header(name, value);
    }
    request
}

/// What a head of a response from the libraries says.
fn answer<B>(response: &hyper::Response<B>, look: &RequestLook) -> Answer {
    let cookies = response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies.filter_map(|text| cookie_value(text, &look.cookie_name)).next();
    Answer { status: response.status().as_u16(), cookie }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
