//! Requests that come through a CDN, whose connections carry those of many clients: HTTP/2 and HTTP/1.1, with the client's address in a header.
//! Whoever is no client gets the same web site as elsewhere, request by request. Source: TRANSPORTS.md 2.2, 2.5.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use culvert_transport::meek::server::{Carrier, Head, HeadRules, SessionOver, Status, Turn, date};
use culvert_transport::meek::wire::{MAX_BODY, range_position};
use culvert_transport::{Remote, Stream};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;
use tokio::time::timeout;

use super::admit::{Admitted, Visitor};
use super::{MeekService, decoy};
use crate::services::Services;
use crate::session::carriage::Carriage;
use crate::session::{Arrival, Stopping};

/// Up to this a response is sent whole, with its length.
const SMALL: usize = 2048;
/// Requests that one connection may have at a time.
const STREAMS: u32 = 250;
/// How long the head of a request may take to come, by HTTP/1.1.
const HEAD: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub(super) async fn serve(
    stream: Stream,
    (arrival, carriage): (Arrival, Carriage),
    services: Arc<Services>,
    stopping: Stopping,
) {
    let mut ticket = services.held.enter();
    let (known, mut knows) = watch::channel(false);
    let connection = Arc::new(Connection { arrival, carriage, carrier: Carrier::unique() });
    let service = service_fn(move |request| {
        let (services, stopping, known) = (services.clone(), stopping.clone(), known.clone());
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(answer(request, &connection, &services, &stopping, &known).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error is the connection's end.
    tokio::select! {
        _ = &mut serving => return,
        () = ticket.evicted() => return,
        _ = knows.wait_for(|known| *known) => {}
    }
    drop(ticket);
    let _ = serving.await;
}

type Answer = Response<Reply>;

/// What the requests of a connection have in common.
struct Connection {
    arrival: Arrival,
    carriage: Carriage,
    carrier: Carrier,
}

async fn answer(
    request: Request<Incoming>,
    connection: &Connection,
    services: &Arc<Services>,
    stopping: &Stopping,
    known: &watch::Sender<bool>,
) -> Answer {
    let Some(meek) = &services.meek else { return stranger(&request) };
    let Connection { arrival, carriage, carrier } = connection;
    let (head, peer) = read_head(&request, meek, arrival.peer);
    let visitor = Visitor { meek, services, arrival: Arrival { peer, ..*arrival }, carriage, stopping };
    let Some(admitted) = visitor.admit(&head).await else { return stranger(&request) };
    // It is no stranger that would have to make room.
    known.send_replace(true);
    admitted.session.carried_by(*carrier);
    let limited = Limited::new(request.into_body(), MAX_BODY);
    let body = match timeout(meek.config.fronted_patience, limited.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        // Too long; see TRANSPORTS.md 2.6.
        Ok(Err(error)) if error.is::<LengthLimitError>() => return plain(StatusCode::OK, Bytes::new()),
        Ok(Err(_)) | Err(_) => return plain(StatusCode::BAD_REQUEST, Bytes::new()),
    };
    match relay(body, &head, admitted).await {
        Ok(answer) => answer,
        Err(SessionOver) => plain(StatusCode::NOT_FOUND, Bytes::new()),
    }
}

async fn relay(body: Bytes, head: &Head, admitted: Admitted) -> Result<Answer, SessionOver> {
    let Some(mut turn) = admitted.session.turn().await else {
        return Ok(plain(StatusCode::OK, Bytes::new()));
    };
    let status = match turn.receive(body, head.position).await? {
        Status::Ok => StatusCode::OK,
        Status::Partial => StatusCode::PARTIAL_CONTENT,
    };
    let (mut pieces, mut batch, mut len, mut more) = (VecDeque::new(), Vec::new(), 0, true);
    while more && len <= SMALL {
        more = turn.next(&mut batch).await;
        len += batch.iter().map(Bytes::len).sum::<usize>();
        pieces.extend(batch.drain(..));
    }
    let source = if more {
        Source::Turn(Box::new(turn))
    } else {
        turn.finish();
        Source::Over
    };
    let mut answer = Response::new(Reply { pieces, left: len, source });
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("nginx"));
    if len > 0 {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    if let Some((name, _)) = head.cookie.as_ref().filter(|_| admitted.is_new) {
        let cookie = [name, &b"="[..], admitted.session.id().as_str().as_bytes()].concat();
        if let Ok(cookie) = HeaderValue::from_bytes(&cookie) {
            headers.insert(header::SET_COOKIE, cookie);
        }
    }
    Ok(answer)
}

/// What the site says to a request that is no client's.
fn stranger(request: &Request<Incoming>) -> Answer {
    let (status, page) = decoy::page(request.method().as_str(), request.uri().path());
    let mut answer = plain(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND), page);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let left = body.len();
    let mut answer = Response::new(Reply { pieces: VecDeque::from([body]), left, source: Source::Over });
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::SERVER, HeaderValue::from_static("nginx"));
    if let Ok(date) = HeaderValue::from_str(&date(SystemTime::now())) {
        answer.headers_mut().insert(header::DATE, date);
    }
    answer
}

/// What a head says, and who sent it.
fn read_head(request: &Request<Incoming>, meek: &MeekService, peer: Remote) -> (Head, Remote) {
    let headers = request.headers();
    let rules = &meek.config.rules;
    let is_complete = has_required(headers, rules);
    let number = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
    let head = Head {
        len: 0,
        body: headers.get(header::CONTENT_LENGTH).and_then(number),
        cookie: headers.get(header::COOKIE).and_then(|value| first_cookie(value.as_bytes())),
        content_type: headers
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default()
            .to_vec(),
        version: format!("{:?}", request.version()).into_bytes(),
        position: headers.get(header::RANGE).and_then(|value| range_position(value.as_bytes())),
        is_allowed: !rules.prohibited.iter().any(|name| headers.contains_key(name)),
        is_complete,
    };
    let client = meek.config.forwarded_for.iter().filter(|_| is_complete);
    let client = client.filter_map(|name| forwarded(headers, name)).next();
    // The port means nothing behind a CDN.
    let peer = client.map_or(peer, |address| Remote(SocketAddr::new(address, 0)));
    (head, peer)
}

fn has_required(headers: &HeaderMap, rules: &HeadRules) -> bool {
    rules.required.iter().all(|(name, expected)| {
        let mut values = headers.get_all(name).into_iter();
        values.any(|value| verify_slices_are_equal(value.as_bytes(), expected.as_bytes()).is_ok())
    })
}

fn first_cookie(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let first = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let at = first.iter().position(|byte| *byte == b'=')?;
    let (name, value) = first.split_at_checked(at)?;
    Some((name.to_vec(), value.get(1..)?.to_vec()))
}

/// The last item of the last header: what the CDN itself has added.
fn forwarded(headers: &HeaderMap, name: &str) -> Option<IpAddr> {
    let last = headers.get_all(name).into_iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// A response's body.
struct Reply {
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    left: usize,
    source: Source,
}

enum Source {
    /// Nothing comes behind the pieces.
    Over,
    Turn(Box<Turn>),
    Fetching(Pin<Box<dyn Future<Output = Fetched> + Send>>),
}

/// The next pieces and where more come from; none if a newer request has come.
type Fetched = Option<(Vec<Bytes>, Option<Box<Turn>>)>;

async fn fetch(mut turn: Box<Turn>) -> Fetched {
    let superseded = turn.superseded();
    let mut pieces = Vec::new();
    let more = tokio::select! {
        more = turn.next(&mut pieces) => more,
        () = superseded => return None,
    };
    if more {
        return Some((pieces, Some(turn)));
    }
    turn.finish();
    Some((pieces, None))
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                self.left -= piece.len();
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.source = match std::mem::replace(&mut self.source, Source::Over) {
                Source::Over => return Poll::Ready(None),
                Source::Turn(turn) => Source::Fetching(Box::pin(fetch(turn))),
                Source::Fetching(mut fetching) => match fetching.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.source = Source::Fetching(fetching);
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => {
                        return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                    }
                    Poll::Ready(Some((pieces, turn))) => {
                        self.left += pieces.iter().map(Bytes::len).sum::<usize>();
                        self.pieces.extend(pieces);
                        turn.map_or(Source::Over, Source::Turn)
                    }
                },
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && matches!(self.source, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match self.source {
            Source::Over => SizeHint::with_exact(self.left as u64),
            _ => SizeHint::default(),
        }
    }
}
