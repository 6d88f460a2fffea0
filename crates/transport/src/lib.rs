//! Carries a byte stream between client and server: one folder for each transport, and the two seams they
//! stand on.
//!
//! [`Network`] is where bytes leave this process; [`Listen`] is where they arrive. Nothing here knows SSH.

mod address;
mod buffers;
pub mod fragmentor;
mod listen;
pub mod meek;
mod network;
mod plan;
pub mod quic;
pub mod resolve;
pub mod shadowsocks;
mod stream;
mod tape;
pub mod tcp;
pub mod throttle;
pub mod tls;
pub mod upstream;

pub use address::{Endpoint, Remote};
pub use listen::{Accepted, ConnFacts, Listen};
pub use network::{Datagrams, Forwarder, Login, Network, OsNetwork};
pub use plan::{DialError, DialFacts, Dialed, TransportPlan};
pub use stream::{ByteStream, Stream};
pub use tape::{Sent, Tape};

use std::future::Future;
use std::pin::Pin;

/// A future behind a trait object: the seams are used through `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
