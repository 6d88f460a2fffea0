//! Meek: a byte stream in HTTP requests and their responses, which may pass proxies and CDNs. Source: TRANSPORTS.md 2.

mod connection;
mod dial;
mod forwarded;
mod pace;
mod pipe;
mod request;
mod response;
mod round_trip;
mod route;
pub mod server;
mod session;
mod stale;
#[cfg(test)]
mod tests;
pub mod wire;

pub use connection::ExchangeError;
pub use dial::{Keys, Plan, SetupError, dial};
pub use request::{BadHead, HeadTransform, HeadWriter, RequestLook, RequestPart};
pub use response::{BadResponse, Body, Chunk, Piece, ResponseHead};
pub use round_trip::{MAX_RESPONSE, RoundTripError, round_trip};
pub use route::Route;
pub use session::SessionError;
