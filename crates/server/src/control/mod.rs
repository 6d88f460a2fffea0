//! The control socket: how a person or a script on this machine asks a running server to reload its files, and learns what
//! came of it. A Unix socket that only its owner may connect to; one line of JSON each way. Not what the commands do.

mod ask;
mod message;
mod serve;
pub(crate) mod socket;

pub use ask::{AskError, ask};
pub use message::{Answer, FileReport, Listening, Reloaded, Request, RequestError, Status};
pub(crate) use serve::serve;
pub(crate) use socket::ControlSocket;
pub use socket::{SocketError, SocketProblem};

/// The name of the socket in the state directory.
pub const DEFAULT_NAME: &str = "control";
