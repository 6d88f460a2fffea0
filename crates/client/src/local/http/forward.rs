//! Plain requests through the proxy: rewritten, sent to the origin server through a flow, the answer streamed back.
//! Connections to origin servers are reused.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::answer::Refusal;
use super::body::{End, Watched};
use super::lazy::{Failure, LazyFlow};
use super::pool::Origin;
use super::{Body, Far, HttpProxy, LONGEST_HEAD, Takeover, headers};
use crate::flow::{Destination, FlowStream};

const HTTP_PORT: u16 = 80;

/// How long a reused connection may take to finish with its last request.
const READY_WITHIN: Duration = Duration::from_millis(50);

impl HttpProxy {
    /// Carries out a request for an absolute address.
    pub(super) async fn forward(
        self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Body>, Option<Takeover>), Refusal> {
        let authority = request.uri().authority().ok_or(Refusal::BadAddress)?.clone();
        let port = authority.port_u16().unwrap_or(HTTP_PORT);
        let destination =
            self.destination(&authority, port).filter(|to| to.port != 0).ok_or(Refusal::BadAddress)?;
        self.refuse_loop(&destination)?;
        let application =
            headers::wanted_upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));

        let (body_read, body_end) = oneshot::channel();
        let request = outgoing(request, authority.as_str(), body_read)?;
        let origin = format!("{}:{port}", destination.host.to_wire());
        let (mut response, sender) = self.send(request, destination, &origin, body_end).await?;
        headers::strip_hop_by_hop(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let far = Far::Upgraded(hyper::upgrade::on(&mut response));
            let takeover = application.map(|application| Takeover { application, flow: far });
            return Ok((
                response.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync()),
                takeover,
            ));
        }
        let pool = self.pool.clone();
        let keep = move |end| {
            if end == End::Complete {
                pool.put(origin, sender);
            }
        };
        // An answer without a body is at its end already: dropping it must not lose the connection.
        let response = response.map(|body| {
            if body.is_end_stream() {
                keep(End::Complete);
                return Empty::new().map_err(|never| match never {}).boxed_unsync();
            }
            Watched::new(body, keep).boxed_unsync()
        });
        Ok((response, None))
    }

    /// Sends a request over an idle connection, or a new one when there is none or it has just been closed.
    async fn send(
        &self,
        request: Request<Body>,
        destination: Destination,
        origin: &Origin,
        body_end: oneshot::Receiver<()>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Refusal> {
        let mut limit = Box::pin(limit(body_end, self.origin_timeout));
        let mut request = request;
        while let Some(mut sender) = self.pool.take(origin) {
            if !matches!(timeout(READY_WITHIN, sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let again = repeatable(&request);
            let sent = tokio::select! {
                sent = sender.try_send_request(request) => sent,
                () = &mut limit => return Err(Refusal::OriginTimeout { after: self.origin_timeout }),
            };
            match sent {
                Ok(response) => return Ok((response, sender)),
                // The origin had closed the idle connection: try another one with what was not sent, or was sent
                // but may be repeated.
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(Refusal::OriginBroken),
                },
            }
        }
        let (flow, failure) = self.flow(destination).await?;
        let handshake = http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .preserve_header_case(true)
            .handshake::<_, Body>(TokioIo::new(flow))
            .await;
        let (mut sender, connection) = handshake.map_err(|_| Refusal::OriginBroken)?;
        tokio::spawn(connection.with_upgrades());
        let sent = tokio::select! {
            sent = sender.send_request(request) => sent,
            () = &mut limit => return Err(Refusal::OriginTimeout { after: self.origin_timeout }),
        };
        match sent {
            Ok(response) => Ok((response, sender)),
            Err(_) => Err(failure.get().cloned().map_or(Refusal::OriginBroken, Refusal::Flow)),
        }
    }

    /// A flow for a request; where opens carry first bytes, one that is opened with the request's head.
    async fn flow(&self, destination: Destination) -> Result<(FlowStream, Failure), Refusal> {
        let opener = &self.flows.opener;
        if !opener.carries_first_bytes() {
            return Ok((opener.open(destination).await?, Failure::default()));
        }
        let (flow, failure) = LazyFlow::new(opener.clone(), destination);
        Ok((FlowStream::Other(Box::new(flow)), failure))
    }
}

/// Completes when the origin has had its time after the end of the request.
async fn limit(body_end: oneshot::Receiver<()>, after: Duration) {
    // A sender that is dropped ends the request just as well.
    drop(body_end.await);
    sleep(after).await;
}

/// The request as the origin server gets it (RFC 9112 section 3.2.1): a path, the host of the address in `Host`.
fn outgoing(
    request: Request<Incoming>,
    authority: &str,
    body_read: oneshot::Sender<()>,
) -> Result<Request<Body>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    parts.version = Version::HTTP_11;
    headers::strip_hop_by_hop(&mut parts.headers);
    let host = HeaderValue::try_from(authority).map_err(|_| Refusal::BadAddress)?;
    parts.headers.insert(HOST, host);
    let body = if body.is_end_stream() {
        drop(body_read);
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        Watched::new(body, move |_| drop(body_read)).boxed_unsync()
    };
    Ok(Request::from_parts(parts, body))
}

/// A copy of a request that may be sent twice: safe by its method, without a body (RFC 9110 section 9.2.2).
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
