//! What the HTTP proxy itself answers when it cannot do what was asked: a status, a plain reason for people and a
//! `Proxy-Status` header for programs.
//!
//! Source: RFC 9209 (Proxy-Status), RFC 9110 section 15.

use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::playlist::PlaylistError;
use super::url_mode::BadAddress as BadUrl;
use super::{Body, text_body};
use crate::flow::{OpenFailure, RefusalReason};

/// RFC 7617 section 2.
const CHALLENGE: &str = "Basic realm=\"local proxy\", charset=\"UTF-8\"";

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("The tunnel could not carry the request: {0}.")]
    Flow(OpenFailure),
    #[error(
        "This is an HTTP proxy. It takes CONNECT host:port and requests for http://... addresses, not paths."
    )]
    NotAProxyRequest,
    #[error("This proxy wants a username and a password.")]
    NoProxyLogin,
    #[error("This proxy's own addresses want a username and a password.")]
    NoLogin,
    #[error("{0}")]
    UrlMode(#[from] BadUrl),
    #[error("The server sends from one address to the next without end.")]
    TooManyRedirects,
    #[error("The server cannot be reached.")]
    NotReached,
    #[error("The server did not prove who it is: {0}.")]
    OriginTls(String),
    #[error("The playlist cannot be rewritten: {0}.")]
    Playlist(PlaylistError),
    #[error("CONNECT needs host:port.")]
    BadAuthority,
    #[error("The address is not a valid http:// address.")]
    BadAddress,
    #[error("Addresses of this kind are not fetched by the proxy; use CONNECT for https://.")]
    UnsupportedScheme,
    #[error("The request would come back to this proxy.")]
    Loop,
    #[error("The server did not begin to answer within {} s.", .after.as_secs())]
    OriginTimeout { after: std::time::Duration },
    #[error("The server closed the connection without a valid answer.")]
    OriginBroken,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Flow(OpenFailure::NoTunnel { .. } | OpenFailure::TimedOut { .. })
            | Self::Flow(OpenFailure::Refused { reason: RefusalReason::TimedOut, .. })
            | Self::OriginTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Flow(OpenFailure::TooManyFlows | OpenFailure::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Flow(_)
            | Self::OriginBroken
            | Self::TooManyRedirects
            | Self::NotReached
            | Self::OriginTls(_)
            | Self::Playlist(_) => StatusCode::BAD_GATEWAY,
            Self::NoLogin => StatusCode::UNAUTHORIZED,
            Self::UrlMode(_) | Self::NotAProxyRequest | Self::BadAuthority | Self::BadAddress => {
                StatusCode::BAD_REQUEST
            }
            Self::NoProxyLogin => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::UnsupportedScheme => StatusCode::NOT_IMPLEMENTED,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The error type of RFC 9209 section 2.3.
    fn proxy_status(&self) -> &'static str {
        match self {
            Self::Flow(OpenFailure::Refused { reason, .. }) => match reason {
                RefusalReason::Rules => "destination_ip_prohibited",
                RefusalReason::HostUnreachable | RefusalReason::NetworkUnreachable => {
                    "destination_ip_unroutable"
                }
                RefusalReason::ConnectionRefused => "connection_refused",
                RefusalReason::NameNotFound => "dns_error",
                RefusalReason::TimedOut => "connection_timeout",
                RefusalReason::Opaque(_) => "destination_unavailable",
            },
            Self::Flow(OpenFailure::TimedOut { .. }) => "connection_timeout",
            Self::Flow(OpenFailure::TooManyFlows) => "connection_limit_reached",
            Self::Flow(OpenFailure::NoTunnel { .. } | OpenFailure::TunnelLost | OpenFailure::Stopping) => {
                "destination_unavailable"
            }
            Self::NotAProxyRequest
            | Self::UrlMode(_)
            | Self::BadAuthority
            | Self::BadAddress
            | Self::UnsupportedScheme => "http_request_error",
            Self::TooManyRedirects | Self::Playlist(_) => "http_protocol_error",
            Self::NotReached => "destination_unavailable",
            Self::OriginTls(_) => "tls_certificate_error",
            Self::NoLogin | Self::NoProxyLogin => "http_request_denied",
            Self::Loop => "proxy_loop_detected",
            Self::OriginTimeout { .. } => "http_response_timeout",
            Self::OriginBroken => "http_response_incomplete",
        }
    }

    /// The whole answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(text_body(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let challenge = match self {
            Self::NoProxyLogin => Some(PROXY_AUTHENTICATE),
            Self::NoLogin => Some(WWW_AUTHENTICATE),
            _ => None,
        };
        if let Some(name) = challenge {
            headers.insert(name, HeaderValue::from_static(CHALLENGE));
            // The answer to it comes on the same connection.
            headers.remove(CONNECTION);
        }
        if let Ok(value) = HeaderValue::try_from(format!("culvert; error={}", self.proxy_status())) {
            headers.insert("proxy-status", value);
        }
        response
    }
}

impl From<OpenFailure> for Refusal {
    fn from(failure: OpenFailure) -> Self {
        Self::Flow(failure)
    }
}
