//! TCP alone: what SSH and OSSH run on.

mod dial;
mod listen;
mod split;

pub use dial::{Plan, dial};
pub use listen::TcpListen;
pub(crate) use split::Split;
pub use split::{First, Splitting};
