//! Plain requests through the proxy: rewritten, sent to the origin server through a flow, the answer streamed back.
//! Connections to origin servers are reused.

use std::net::SocketAddr;
use std::time::Duration;

use culvert_transport::Endpoint;
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
use super::icy::{IcyFlow, IsIcy};
use super::lazy::{Failure, LazyFlow};
use super::pool::Origin;
use super::tls::TlsFlow;
use super::{Body, Far, HttpProxy, LONGEST_HEAD, Takeover, headers};
use crate::flow::{Destination, FlowStream, Host};
use crate::local::Direct;

const HTTP_PORT: u16 = 80;

/// How long a reused connection may take to finish with its last request.
const READY_WITHIN: Duration = Duration::from_millis(50);

/// An origin server and how it is reached.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) destination: Destination,
    pub(super) is_tls: bool,
    pub(super) via: Via,
}

/// The way to an origin server.
#[derive(Clone)]
pub(super) enum Via {
    Tunnel,
    /// Past the tunnel, as the system connects.
    System,
    /// Through the tunnel, to what may be a radio server.
    Radio(IsIcy),
}

impl PartialEq for Via {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Target {
    /// Under which name its idle connections are kept, if they are.
    fn pooled_as(&self) -> Option<Origin> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let way = match self.via {
            Via::Tunnel => scheme.to_owned(),
            Via::System => format!("direct-{scheme}"),
            Via::Radio(_) => return None,
        };
        Some(format!("{way}://{}:{}", self.destination.host.to_wire(), self.destination.port))
    }
}

async fn connect_past_tunnel(destination: &Destination, direct: &Direct) -> Result<FlowStream, Refusal> {
    let to = match &destination.host {
        Host::Ip(ip) => Endpoint::Address(SocketAddr::new(*ip, destination.port)),
        Host::Name(name) => Endpoint::Name(name.as_str().to_owned(), destination.port),
    };
    let connected = direct.0.connect(&to).await;
    Ok(FlowStream::Other(Box::new(connected.map_err(|_| Refusal::NotReached)?)))
}

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
        let target = Target { destination, is_tls: false, via: Via::Tunnel };
        let (mut response, sender) = self.send(request, target.clone(), body_end).await?;
        headers::strip_hop_by_hop(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let far = Far::Upgraded(hyper::upgrade::on(&mut response));
            let takeover = application.map(|application| Takeover { application, flow: far });
            return Ok((
                response.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync()),
                takeover,
            ));
        }
        Ok((self.keeping(response, &target, sender), None))
    }

    /// An answer whose connection is kept once it was read to its end.
    pub(super) fn keeping(
        &self,
        response: Response<Incoming>,
        target: &Target,
        sender: SendRequest<Body>,
    ) -> Response<Body> {
        let (pool, origin) = (self.pool.clone(), target.pooled_as());
        let keep = move |end| {
            if let (End::Complete, Some(origin)) = (end, origin) {
                pool.put(origin, sender);
            }
        };
        // An answer without a body is at its end already: dropping it must not lose the connection.
        response.map(|body| {
            if body.is_end_stream() {
                keep(End::Complete);
                return Empty::new().map_err(|never| match never {}).boxed_unsync();
            }
            Watched::new(body, keep).boxed_unsync()
        })
    }

    /// Sends a request over an idle connection, or a new one when there is none or it has just been closed.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        target: Target,
        body_end: oneshot::Receiver<()>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Refusal> {
        let mut limit = Box::pin(limit(body_end, self.origin_timeout));
        let mut request = request;
        let origin = target.pooled_as();
        let is_beyond_tunnel = target.is_tls || target.via == Via::System;
        while let Some(mut sender) = origin.as_ref().and_then(|origin| self.pool.take(origin)) {
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
        let connected = tokio::select! {
            connected = self.connect_to(target) => connected,
            // A tunnel's own limits are for opening it.
            () = &mut limit, if is_beyond_tunnel => Err(Refusal::OriginTimeout { after: self.origin_timeout }),
        };
        let (flow, failure) = connected?;
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

    /// A connection to an origin server, with TLS if it wants that.
    async fn connect_to(&self, target: Target) -> Result<(FlowStream, Failure), Refusal> {
        let Target { destination, is_tls, via } = target;
        let host = destination.host.clone();
        let (flow, failure) = match &via {
            Via::Tunnel if !is_tls => self.flow(destination).await?,
            Via::Tunnel | Via::Radio(_) => (self.flows.opener.open(destination).await?, Failure::default()),
            Via::System => (connect_past_tunnel(&destination, &self.direct).await?, Failure::default()),
        };
        let flow = if is_tls {
            let tls = TlsFlow::connect(flow, &host).await;
            FlowStream::Other(Box::new(tls.map_err(|error| Refusal::OriginTls(error.to_string()))?))
        } else {
            flow
        };
        Ok(match via {
            Via::Radio(is_icy) => (FlowStream::Other(Box::new(IcyFlow::new(flow, is_icy))), failure),
            Via::Tunnel | Via::System => (flow, failure),
        })
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
