//! TCP alone: what SSH and OSSH run on.

mod dial;
mod listen;

pub use dial::{Plan, dial};
pub use listen::TcpListen;
