//! How a connection for requests comes about.

use std::io;

use super::connection::Connection;
use super::forwarded::Forwarded;
use crate::quic::{FrontPlan, Http3};
use crate::tls::{self, TlsFacts};
use crate::upstream::UpstreamError;
use crate::{DialError, Endpoint, Network};

/// The name of HTTP/2 in TLS. RFC 9113 section 3.2.
const HTTP2: &[u8] = b"h2";

/// Where connections go, and what is around HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// HTTP in the clear.
    Http(Endpoint),
    /// HTTP in TLS: of the version that the server chooses.
    Https(Box<tls::Plan>),
    /// HTTP/3.
    Http3(Box<FrontPlan>),
}

impl Route {
    pub(super) async fn connect(
        &self,
        network: &dyn Network,
    ) -> Result<(Connection, Option<TlsFacts>), DialError> {
        let plan = match self {
            Self::Http(server) => {
                let connection = match network.connect(server).await {
                    Ok(stream) => Connection::http1(stream),
                    Err(refused) => forwarded(server, network, refused).await.map_err(DialError::Connect)?,
                };
                return Ok((connection, None));
            }
            Self::Https(plan) => plan,
            Self::Http3(plan) => {
                let http3 = Http3::connect(plan, network).await?;
                return Ok((Connection::Http3(Box::new(http3)), None));
            }
        };
        let connected = tls::connect(plan, network).await?;
        let connection = if connected.alpn.as_deref() == Some(HTTP2) {
            Connection::http2(connected.stream).await.map_err(|error| DialError::Http(Box::new(error)))?
        } else {
            Connection::http1(connected.stream)
        };
        Ok((connection, Some(connected.facts)))
    }
}

/// A proxy of the user's that has refused a tunnel to this server may send requests on to it.
async fn forwarded(server: &Endpoint, network: &dyn Network, refused: io::Error) -> io::Result<Connection> {
    let tunnels_elsewhere = matches!(UpstreamError::of(&refused), Some(UpstreamError::TargetRefused(_)));
    // What a front is asked for is not where it is.
    let Endpoint::Address(target) = server else { return Err(refused) };
    if !tunnels_elsewhere {
        return Err(refused);
    }
    match network.forwarder().await? {
        Some(proxy) => Ok(Connection::forwarded(proxy.stream, Forwarded::new(*target, proxy.login))),
        None => Err(refused),
    }
}
