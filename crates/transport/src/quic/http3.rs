//! HTTP/3 to a front: requests on a QUIC connection that is plain in every way. One at a time, as the layer above makes them.
//! Source: TRANSPORTS.md 3.6, RFC 9114.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use culvert_obfuscation::{Prng, Seed};
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, ConnectionError, StreamError};
use h3_quinn::{BidiStream, OpenStreams};
use hyper::{Request, Response};
use quinn::{Connection, Endpoint as QuicEndpoint, EndpointConfig, TokioRuntime, VarInt};
use thiserror::Error;
use tokio::task::JoinHandle;

use super::cids::Resets;
use super::dial::{QuicError, address};
use super::settings::{self, End};
use crate::{DialError, Endpoint, Network};

/// H3_NO_ERROR. RFC 9114 section 8.1.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Where to connect, and how the connection looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontPlan {
    /// The front.
    pub front: Endpoint,
    /// The host name that is shown.
    pub server_name: String,
    /// Whether the order of algorithms is drawn.
    pub shuffled: bool,
    /// What is drawn comes from here.
    pub seed: Seed,
}

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum Http3Error {
    /// The request's own stream, or the connection under it.
    #[error("HTTP/3: {0}")]
    Stream(#[from] StreamError),
    /// The connection.
    #[error("HTTP/3: {0}")]
    Connection(#[from] ConnectionError),
}

/// A connection that is up.
pub struct Http3 {
    requests: SendRequest<OpenStreams, Bytes>,
    response: Option<RequestStream<BidiStream<Bytes>, Bytes>>,
    connection: Connection,
    _endpoint: QuicEndpoint,
    driver: JoinHandle<()>,
}

impl Http3 {
    /// Connects.
    ///
    /// # Errors
    /// The front, the network, or something in between.
    pub async fn connect(plan: &FrontPlan, network: &dyn Network) -> Result<Self, DialError> {
        let front = address(&plan.front, network).await?;
        let socket = network.datagrams(front).await.map_err(DialError::Connect)?;
        let mut config = EndpointConfig::new(Arc::new(Resets::new().ok_or(DialError::Random)?));
        settings::endpoint(&mut config);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = QuicEndpoint::new_with_abstract_socket(config, None, socket, runtime);
        let endpoint = endpoint.map_err(DialError::Connect)?;
        let mut prng = Prng::derived(&plan.seed, "connection");
        let mut config = settings::client(plan.shuffled, &mut prng).map_err(QuicError::from)?;
        config.transport_config(settings::transport(End::Front, false, &mut prng));
        let connecting = endpoint.connect_with(config, front, &plan.server_name).map_err(QuicError::from)?;
        let connection = connecting.await.map_err(QuicError::from)?;
        let (mut run, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone()))
            .await
            .map_err(|error| QuicError::Http3(error.into()))?;
        // Its failures reach the requests.
        let driver = tokio::spawn(async move { drop(poll_fn(|cx| run.poll_close(cx)).await) });
        Ok(Self { requests, response: None, connection, _endpoint: endpoint, driver })
    }

    /// Whether another request can be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Sends a request and waits for the beginning of its response. A response that was given up is cancelled.
    ///
    /// # Errors
    /// The connection or the front.
    pub async fn ask(&mut self, request: Request<()>, body: Bytes) -> Result<Response<()>, Http3Error> {
        if let Some(mut given_up) = self.response.take() {
            given_up.stop_sending(Code::H3_REQUEST_CANCELLED);
        }
        let mut stream = self.requests.send_request(request).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        stream.finish().await?;
        let response = stream.recv_response().await?;
        self.response = Some(stream);
        Ok(response)
    }

    /// The next piece of the response; `None` at its end.
    ///
    /// # Errors
    /// The connection or the front.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Http3Error> {
        let Some(response) = &mut self.response else { return Ok(None) };
        if let Some(mut data) = response.recv_data().await? {
            return Ok(Some(data.copy_to_bytes(data.remaining())));
        }
        self.response = None;
        Ok(None)
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.driver.abort();
        self.connection.close(NO_ERROR, b"");
    }
}
