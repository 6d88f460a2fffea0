//! Figures over HTTP, on an address of this machine alone: `/metrics`, `/healthz` and `/readyz`. Not for clients and not for the
//! network: a request that was sent to another name than this machine's own is refused, so that a page in a browser here cannot
//! read it by a name that it lets point here.
//!
//! Sources: RFC 9110; <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::exposition::Form;
use super::{Figures, Readiness};
use crate::pulse::Pulse;
use crate::services::Services;

/// Connections at once. Scrapers and load balancers are few, and keep theirs.
const MOST: usize = 32;
/// For the head of a request, the first or the next. Longer than scrapers wait between two.
const HEAD: Duration = Duration::from_secs(120);
/// A connection ends then, whoever it is.
const LONGEST: Duration = Duration::from_secs(3600);
/// The least that hyper can work with.
const BUFFER: usize = 8192;
/// For the threads to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error of accepting that would come again at once.
const BACK_OFF: Duration = Duration::from_millis(500);

const PLAIN: &str = "text/plain; charset=utf-8";

/// What requests are answered from.
pub(crate) struct Source {
    figures: Arc<Figures>,
    pulse: Pulse,
    /// Whether new clients are welcome now.
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
}

impl Source {
    pub(crate) fn new(services: Arc<Services>, pulse: Pulse) -> Self {
        let figures = services.figures.clone();
        Self { figures, pulse, readiness: Box::new(move || services.readiness()) }
    }
}

/// A port for figures that is bound.
pub(crate) struct FiguresPort {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl FiguresPort {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Answers for ever.
    pub(crate) async fn serve(self, source: Arc<Source>) {
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            // Whoever finds no place waits to be accepted.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(BACK_OFF).await;
                continue;
            };
            let (source, own) = (source.clone(), self.address.ip());
            tokio::spawn(async move {
                // It ends with the connection or the time, and neither matters here.
                let _ = timeout(LONGEST, converse(stream, source, own)).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: TcpStream, source: Arc<Source>, own: IpAddr) {
    let service = service_fn(|request| {
        let source = source.clone();
        async move { Ok::<_, Infallible>(answer(&request, &source, own).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // An error is the peer's.
    let _ = connection.await;
}

async fn answer<B>(request: &Request<B>, source: &Source, own: IpAddr) -> Response<Full<Bytes>> {
    if !is_for_this_machine(request, own) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "ask for localhost or 127.0.0.1\n");
    }
    let known = ["/metrics", "/healthz", "/readyz"].contains(&request.uri().path());
    if known && request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let form = Form::accepted_by(accept);
            response(StatusCode::OK, form.content_type(), form.of(source.figures.open_metrics()))
        }
        "/healthz" => match source.pulse.beats(PATIENCE).await {
            true => plain(StatusCode::OK, "ok\n"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "a thread does not answer\n"),
        },
        "/readyz" => {
            let readiness = (source.readiness)();
            let ready = readiness == Readiness::Ready;
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            plain(status, &format!("{}\n", readiness.text()))
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

/// Whether the name that was asked for is one that only this machine has. RFC 9110 section 7.2.
fn is_for_this_machine<B>(request: &Request<B>, own: IpAddr) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let authority = host.to_str().ok().and_then(|host| host.parse::<hyper::http::uri::Authority>().ok());
    let Some(authority) = authority else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback() || it == own)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, PLAIN, text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn source(ready: &'static AtomicBool) -> Source {
        let readiness = || if ready.load(Ordering::Relaxed) { Readiness::Ready } else { Readiness::Paused };
        Source { figures: Figures::new(&[]), pulse: Pulse::default(), readiness: Box::new(readiness) }
    }

    async fn ask(source: &Source, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = answer(&request.body(()).unwrap(), source, OWN).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_names_of_this_machine_are_answered() {
        static READY: AtomicBool = AtomicBool::new(true);
        let source = source(&READY);
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.0.0.1", "[::1]:1", "127.9.9.9"] {
            assert_eq!(ask(&source, "GET", "/readyz", &[("host", host)]).await.0, 200, "{host}");
        }
        let rebound =
            ["attacker.example", "localhost.attacker.example", "192.0.2.1:9464", "", "a b", "[::2]"];
        for host in rebound {
            assert_eq!(ask(&source, "GET", "/metrics", &[("host", host)]).await.0, 421, "{host}");
        }
        assert_eq!(ask(&source, "GET", "/metrics", &[]).await.0, 421);
        let two = [("host", "localhost"), ("host", "attacker.example")];
        assert_eq!(ask(&source, "GET", "/metrics", &two).await.0, 421);
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        static READY: AtomicBool = AtomicBool::new(true);
        let source = source(&READY);
        let host = ("host", "localhost");
        let (status, text) = ask(&source, "GET", "/metrics", &[host]).await;
        assert!(status == 200 && text.contains("# TYPE culvert_flows_opened_total counter\n"), "{text}");
        let accept = ("accept", "application/openmetrics-text");
        let (_, text) = ask(&source, "GET", "/metrics", &[host, accept]).await;
        assert!(
            text.contains("# TYPE culvert_flows_opened counter\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
        assert_eq!(ask(&source, "GET", "/healthz", &[host]).await, (200, "ok\n".into()));
        assert_eq!(ask(&source, "GET", "/readyz", &[host]).await, (200, "ready\n".into()));
        READY.store(false, Ordering::Relaxed);
        assert_eq!(ask(&source, "GET", "/readyz", &[host]).await, (503, "paused\n".into()));
        assert_eq!(ask(&source, "POST", "/metrics", &[host]).await.0, 405);
        assert_eq!(ask(&source, "GET", "/debug/pprof", &[host]).await.0, 404);
    }
}
