//! The server's side of meek: sessions, which are byte streams to those above, and the HTTP/1.1 in which a client's requests come straight. Who is a
//! client, and what others see, is the caller's. Source: TRANSPORTS.md 2.

mod cache;
mod head;
mod http1;
mod pace;
mod pipe;
mod record;
mod session;
mod table;
#[cfg(test)]
mod tests;

pub use head::{Head, HeadError, HeadRules, MAX_HEAD, head_of};
pub use http1::{Answer, Body, date, read_body, respond};
pub use pipe::SessionStream;
pub use record::{Beginning, Carrier, SessionCounts};
pub use session::{Session, SessionOver, Status, Turn};
pub use table::{NewSession, SessionLimits, Sessions};
