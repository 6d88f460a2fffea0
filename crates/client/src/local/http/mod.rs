//! The local HTTP proxy: CONNECT tunnels, and plain requests that are sent on through the tunnel. HTTP/1.0 and 1.1.
//! Requests for the proxy itself get its configuration file, or what their path names.
//!
//! Source: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 section 3.2 (request targets).

mod answer;
mod body;
mod fetch;
mod forward;
mod headers;
mod icy;
mod lazy;
mod pac;
pub mod playlist;
mod pool;
mod tls;
pub mod url_mode;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;

use self::answer::Refusal;
use self::icy::IsIcy;
use self::pool::Pool;
use super::HANDSHAKE_TIMEOUT;
use super::access::Access;
use super::early::EarlyFlows;
use super::relay::relay_socket;
use super::stream::AppStream;
use super::{Direct, LocalSettings};
use crate::flow::{Destination, FlowStream, Host};

/// The most that the head of a request or an answer may take.
const LONGEST_HEAD: usize = 64 * 1024;

/// Bodies of requests and answers.
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

fn text_body(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Serves HTTP proxy connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct HttpProxy {
    flows: EarlyFlows,
    access: Access,
    pool: Pool,
    /// Where this client's proxies listen, to refuse requests that would come back.
    own: Arc<[SocketAddr]>,
    origin_timeout: Duration,
    direct: Direct,
}

/// A flow that begins when an application's connection stops being HTTP.
struct Takeover {
    application: OnUpgrade,
    flow: Far,
}

/// The far side of a flow.
enum Far {
    /// To be opened with what the application says first.
    Wanted(Destination),
    Flow(FlowStream),
    Upgraded(OnUpgrade),
}

impl HttpProxy {
    pub(super) fn new(
        flows: EarlyFlows,
        access: Access,
        own: Vec<SocketAddr>,
        LocalSettings { origin_timeout, direct, .. }: &LocalSettings,
    ) -> Self {
        let (origin_timeout, direct) = (*origin_timeout, direct.clone());
        Self { flows, access, pool: Pool::default(), own: own.into(), origin_timeout, direct }
    }

    /// Serves one connection to its end, including what it was upgraded to.
    pub(super) async fn serve(self, mut stream: AppStream) {
        let (takeovers, mut taken_over) = tokio::sync::mpsc::channel(1);
        let says_icy = IsIcy::default();
        stream.begin_as_told(says_icy.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            let (proxy, takeovers) = (self.clone(), takeovers.clone());
            request.extensions_mut().insert(says_icy.clone());
            async move {
                let response = match proxy.answer(request).await {
                    Ok((response, None)) => response,
                    Ok((response, Some(takeover))) => {
                        // One connection is taken over at most once, so there is room.
                        drop(takeovers.try_send(takeover));
                        response
                    }
                    Err(refusal) => refusal.into_response(),
                };
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_TIMEOUT)
            .max_buf_size(LONGEST_HEAD)
            .preserve_header_case(true)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // An application that breaks off or sends nonsense has had its answer from the HTTP layer.
        drop(connection.await);
        if let Ok(takeover) = taken_over.try_recv() {
            takeover.run(&self.flows).await;
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<(Response<Body>, Option<Takeover>), Refusal> {
        let is_for_itself = request.method() != Method::CONNECT && request.uri().scheme().is_none();
        if is_for_itself {
            return self.answer_itself(request).await.map(|response| (response, None));
        }
        if !self.access.admits_basic(request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes)) {
            return Err(Refusal::NoProxyLogin);
        }
        if request.method() == Method::CONNECT {
            return self.connect(request).await;
        }
        match request.uri().scheme() {
            None => Err(Refusal::NotAProxyRequest),
            Some(scheme) if *scheme != Scheme::HTTP => Err(Refusal::UnsupportedScheme),
            Some(_) => self.forward(request).await,
        }
    }

    /// Requests for the proxy's own pages rather than through it.
    async fn answer_itself(self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if let Some(wanted) = url_mode::parse(request.uri().path(), request.uri().query()) {
            let login = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
            if !self.access.admits_basic(login) {
                return Err(Refusal::NoLogin);
            }
            let says_icy = request.extensions().get::<IsIcy>().cloned().unwrap_or_default();
            return self.fetch(request, wanted?, &says_icy).await;
        }
        if request.uri().path() == pac::PATH {
            // It says nothing that whoever reaches it does not know.
            return pac::answer(&request, &self.own).ok_or(Refusal::NotAProxyRequest);
        }
        Err(Refusal::NotAProxyRequest)
    }

    async fn connect(
        self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Body>, Option<Takeover>), Refusal> {
        let authority = request.uri().authority().ok_or(Refusal::BadAuthority)?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or(Refusal::BadAuthority)?;
        let destination = self.destination(authority, port).ok_or(Refusal::BadAuthority)?;
        self.refuse_loop(&destination)?;
        let flow = if self.flows.opener.carries_first_bytes() {
            Far::Wanted(destination)
        } else {
            Far::Flow(self.flows.opener.open(destination).await?)
        };
        let takeover = Takeover { application: hyper::upgrade::on(&mut request), flow };
        Ok((Response::new(text_body(String::new())), Some(takeover)))
    }

    fn destination(&self, authority: &Authority, port: u16) -> Option<Destination> {
        if authority.as_str().contains('@') {
            return None;
        }
        Some(Destination { host: authority.host().parse().ok()?, port })
    }

    /// A request to one of this client's own listeners would end at the server's loopback, never here; it is a
    /// mistake in an application's settings.
    fn refuse_loop(&self, destination: &Destination) -> Result<(), Refusal> {
        let own_port = |own: &&SocketAddr| own.port() == destination.port;
        let is_own = self.own.iter().filter(own_port).any(|own| match &destination.host {
            Host::Ip(ip) => ip.is_loopback() || *ip == own.ip(),
            Host::Name(name) => name.as_str().eq_ignore_ascii_case("localhost"),
        });
        if is_own { Err(Refusal::Loop) } else { Ok(()) }
    }
}

impl Takeover {
    /// Relays until both directions have ended.
    async fn run(self, flows: &EarlyFlows) {
        let Ok(application) = self.application.await else { return };
        let flow: FlowStream = match self.flow {
            Far::Flow(flow) => flow,
            Far::Upgraded(upgrade) => match upgrade.await {
                Ok(upgraded) => FlowStream::Other(Box::new(TokioIo::new(upgraded))),
                Err(_) => return,
            },
            Far::Wanted(destination) => {
                if let Some((stream, said)) = taken_back(application) {
                    flows.carry(stream, destination, said.into()).await;
                }
                return;
            }
        };
        relay_rest(application, flow).await;
    }
}

/// The connection below HTTP, and what the application sent right behind its request.
fn taken_back(application: Upgraded) -> Option<(AppStream, Bytes)> {
    let parts = application.downcast::<TokioIo<AppStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

async fn relay_rest(application: Upgraded, mut flow: FlowStream) {
    let Some((stream, said)) = taken_back(application) else { return };
    let carried = async {
        flow.write_all(&said).await?;
        relay_socket(stream, flow).await
    };
    drop(carried.await);
}
