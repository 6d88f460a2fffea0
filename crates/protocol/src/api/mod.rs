//! API messages between client and server over SSH: requests, replies and the rules for their parameters.
//!
//! Not here: sending and answering them. PROTOCOL.md 3.5, 4.

mod password;

pub use password::{PasswordError, PasswordPayload, SERVER_REQUESTS, SessionId, SshPassword};
