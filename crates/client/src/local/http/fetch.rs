//! Requests to the proxy itself that name an address in their path: fetched, redirects followed, playlists rewritten.
//! Not the paths: see `url_mode.rs`.
//!
//! Source: RFC 9110 sections 10.2.2 and 15.4 (redirects); what the reference does for each path.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST,
    HeaderValue, LOCATION,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::{Position, Url};

use super::answer::Refusal;
use super::body::Watched;
use super::forward::{Target, Via};
use super::icy::IsIcy;
use super::url_mode::Mode;
use super::{Body, HttpProxy, headers, playlist};
use crate::flow::{Destination, Host};

/// Redirects that are followed, as browsers and the reference do.
const MOST_REDIRECTS: usize = 10;
/// For a whole playlist to arrive.
const PLAYLIST_TIMES: u32 = 4;

/// A fetch under way.
struct Fetch {
    proxy: HttpProxy,
    mode: Mode,
    head: Parts,
    url: Url,
    is_icy: IsIcy,
}

impl HttpProxy {
    /// Fetches an address as its path asks. `says_icy` is set when the answer is to begin with that word.
    pub(super) async fn fetch(
        self,
        request: Request<Incoming>,
        (mode, url): (Mode, Url),
        says_icy: &IsIcy,
    ) -> Result<Response<Body>, Refusal> {
        let (mut head, body) = request.into_parts();
        // Where the player reached the proxy, and so will again.
        let reached = head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        headers::strip_hop_by_hop(&mut head.headers);
        headers::strip_upgrade(&mut head.headers);
        if self.access.wants_login() {
            // It was for this proxy.
            head.headers.remove(AUTHORIZATION);
        }
        if mode == Mode::Rewrite {
            only_gzip(&mut head.headers);
        }
        let mut fetch = Fetch { proxy: self, mode, head, url, is_icy: IsIcy::default() };
        let (response, sender) = fetch.follow(body).await?;
        if fetch.is_icy.load(Ordering::Relaxed) {
            says_icy.store(true, Ordering::Relaxed);
        }
        let mut response = fetch.finish(response, sender, reached).await?;
        if fetch.is_icy.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

impl Fetch {
    /// Sends the request, and again where a redirect leads. Only requests that ask and say nothing are sent again.
    async fn follow(&mut self, body: Incoming) -> Result<(Response<Incoming>, SendRequest<Body>), Refusal> {
        let may_follow = matches!(self.head.method, Method::GET | Method::HEAD);
        let mut body = Some(body);
        for _ in 0..=MOST_REDIRECTS {
            let (body_read, body_end) = oneshot::channel();
            let body = match body.take().filter(|_| !may_follow) {
                Some(body) => Watched::new(body, move |_| drop(body_read)).boxed_unsync(),
                None => {
                    drop(body_read);
                    Empty::new().map_err(|never| match never {}).boxed_unsync()
                }
            };
            let request = self.request(body)?;
            let (response, sender) = self.proxy.send(request, self.target()?, body_end).await?;
            match self.redirect(&response).filter(|_| may_follow) {
                Some(next) => {
                    if next.origin() != self.url.origin() {
                        // They were for the first server.
                        self.head.headers.remove(AUTHORIZATION);
                        self.head.headers.remove(COOKIE);
                    }
                    self.url = next;
                }
                None => return Ok((response, sender)),
            }
        }
        Err(Refusal::TooManyRedirects)
    }

    fn request(&self, body: Body) -> Result<Request<Body>, Refusal> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        let path = &self.url[Position::BeforePath..Position::AfterQuery];
        *request.uri_mut() = path.parse().map_err(|_| Refusal::BadAddress)?;
        *request.headers_mut() = self.head.headers.clone();
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::try_from(authority).map_err(|_| Refusal::BadAddress)?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    fn target(&self) -> Result<Target, Refusal> {
        let host: Host = self.url.host_str().and_then(|host| host.parse().ok()).ok_or(Refusal::BadAddress)?;
        let port = self.url.port_or_known_default().filter(|port| *port != 0).ok_or(Refusal::BadAddress)?;
        let destination = Destination { host, port };
        self.proxy.refuse_loop(&destination)?;
        Ok(Target {
            destination,
            is_tls: self.url.scheme() == "https",
            via: match self.mode {
                Mode::Direct => Via::System,
                Mode::Icy => Via::Radio(self.is_icy.clone()),
                Mode::Tunneled | Mode::Rewrite => Via::Tunnel,
            },
        })
    }

    /// Where an answer leads instead, if it does and to what can be fetched.
    fn redirect(&self, response: &Response<Incoming>) -> Option<Url> {
        let redirects = [
            StatusCode::MOVED_PERMANENTLY,
            StatusCode::FOUND,
            StatusCode::SEE_OTHER,
            StatusCode::TEMPORARY_REDIRECT,
            StatusCode::PERMANENT_REDIRECT,
        ];
        let location = response.headers().get(LOCATION).filter(|_| redirects.contains(&response.status()))?;
        let next = self.url.join(location.to_str().ok()?).ok()?;
        (matches!(next.scheme(), "http" | "https") && next.has_host()).then_some(next)
    }

    async fn finish(
        &self,
        mut response: Response<Incoming>,
        sender: SendRequest<Body>,
        reached: Option<String>,
    ) -> Result<Response<Body>, Refusal> {
        headers::strip_hop_by_hop(response.headers_mut());
        let is_playlist = self.mode == Mode::Rewrite
            && self.head.method == Method::GET
            && response.status() == StatusCode::OK
            && names_playlist(&self.url, response.headers());
        if !is_playlist {
            return Ok(self.proxy.keeping(response, &self.target()?, sender));
        }
        let proxy = reached.or_else(|| self.proxy.own.last().map(ToString::to_string));
        let proxy = proxy.ok_or(Refusal::NotAProxyRequest)?;
        let (mut head, body) = response.into_parts();
        let after = self.proxy.origin_timeout * PLAYLIST_TIMES;
        let limited = Limited::new(body, playlist::LONGEST).collect();
        let body = timeout(after, limited).await.map_err(|_| Refusal::OriginTimeout { after })?;
        let mut body = body.map_err(|_| Refusal::OriginBroken)?.to_bytes();
        if head.headers.get(CONTENT_ENCODING).is_some_and(|value| value == "gzip") {
            body = playlist::unpacked(&body).map_err(Refusal::Playlist)?.into();
            head.headers.remove(CONTENT_ENCODING);
        }
        if let Some(text) = playlist::rewritten(&body, &self.url, &proxy) {
            body = text.into();
            // The address has lost the ending by which a player would know the kind.
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-mpegurl"));
        }
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        Ok(Response::from_parts(head, full(body)))
    }
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A body that may have to be read is packed in no other way, and comes whole.
fn only_gzip(headers: &mut HeaderMap) {
    let takes_gzip = headers
        .get(ACCEPT_ENCODING)
        .is_some_and(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("gzip")));
    let encoding = if takes_gzip { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
}

/// By name or by kind (RFC 8216 section 4).
fn names_playlist(url: &Url, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kinds =
        ["application/x-mpegurl", "application/vnd.apple.mpegurl", "vnd.apple.mpegurl", "audio/mpegurl"];
    url.path().ends_with(".m3u8") || kinds.contains(&kind.as_str())
}
