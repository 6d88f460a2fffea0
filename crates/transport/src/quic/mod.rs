//! QUIC around an obfuscated stream: what QUIC-OSSH runs on. Packets may be hidden (`wire`, `socket`); a client proves in the random of its ClientHello
//! that it has the key, which is read (`initial`) and judged (`gate`) before anything is answered. Source: TRANSPORTS.md 3.

mod cids;
mod dial;
mod draws;
mod gate;
mod http3;
pub mod initial;
mod listen;
mod settings;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
pub mod wire;

pub use dial::{KeyText, Plan, QuicError, Version, dial};
pub use draws::NonceTransform;
pub use gate::{Admission, Refused};
pub use http3::{FrontPlan, Http3, Http3Error};
pub use listen::{QuicListen, QuicServer};
pub use settings::SetupError;
pub use wire::Key;
