//! A single request to an API endpoint: no session, the endpoint's name in the cookie. Source: TRANSPORTS.md 2.1, 2.9.

use bytes::Bytes;
use thiserror::Error;
use tokio::time::timeout;

use super::connection::ExchangeError;
use super::dial::{Plan, SetupError, cookie};
use super::request::{HeadWriter, RequestPart};
use super::wire::{CookieRequest, MAX_BODY, VERSION};
use crate::{DialError, Network};

/// Longest response that is taken, in bytes.
pub const MAX_RESPONSE: usize = 16 << 20;

/// Why a request to an endpoint came to nothing.
#[derive(Debug, Error)]
pub enum RoundTripError {
    /// The request is too long for any server. The caller is at fault.
    #[error("a request of {0} bytes: endpoints take at most {MAX_BODY}")]
    RequestTooLong(usize),
    /// The connection could not be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke, or what came back is no response.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The server, or what stands before it, does not have the endpoint or does not want the request.
    #[error("the endpoint answered with status {0}")]
    Status(u16),
    /// The response is longer than any that is known.
    #[error("the endpoint's response is longer than {MAX_RESPONSE} bytes")]
    ResponseTooLong,
    /// Nothing came, or not all of it.
    #[error("the endpoint did not answer in time")]
    Silence,
}

/// Sends a request to an endpoint and takes the whole response, over a connection of its own, within the time of a round trip.
///
/// # Errors
/// See [`RoundTripError`].
pub async fn round_trip(
    plan: &Plan,
    network: &dyn Network,
    endpoint: &str,
    body: Bytes,
) -> Result<Vec<u8>, RoundTripError> {
    if body.len() > MAX_BODY {
        return Err(RoundTripError::RequestTooLong(body.len()));
    }
    let head =
        HeadWriter::new(plan.look.clone()).map_err(|error| DialError::from(SetupError::Head(error)))?;
    let request = CookieRequest {
        version: VERSION,
        payload_padding: false,
        protocol: Some(plan.protocol),
        endpoint: Some(endpoint.to_owned()),
    };
    let cookie = cookie(plan, &request)?;
    let exchange = async {
        let (mut connection, _) = plan.route.connect(network).await?;
        let part = RequestPart { cookie: &cookie, length: body.len(), range: None };
        let answer = connection.ask(&head, part, body.clone()).await?;
        if answer.status != 200 {
            return Err(RoundTripError::Status(answer.status));
        }
        let mut response = Vec::new();
        while let Some(piece) = connection.piece().await? {
            if response.len() + piece.len() > MAX_RESPONSE {
                return Err(RoundTripError::ResponseTooLong);
            }
            response.extend_from_slice(&piece);
        }
        Ok(response)
    };
    let silence = plan.parameters.round_trip_timeout.scaled(plan.latency_multiplier);
    timeout(silence, exchange).await.unwrap_or(Err(RoundTripError::Silence))
}
