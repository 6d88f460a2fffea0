//! What both ends of meek agree on, as bytes: the cookie, payload padding, what counts as a repetition, and how a response is resumed. No
//! sockets, clock or randomness: callers bring them. Source: TRANSPORTS.md 2.

mod boxed;
mod cookie;
pub mod names;
mod padding;
mod resume;
mod session_id;

pub use boxed::{BOX_OVERHEAD, BoxError, KEY_LEN, NonceLessBox};
pub use cookie::{
    CookieError, CookieOpener, CookiePlan, CookieRequest, CookieSealer, MAX_COOKIE, MAX_COOKIE_PADDING,
    Opened, SealedCookie, VERSION,
};
pub use padding::{Flow, MAX_PADDING, PaddingError, PaddingReceiver, PaddingSender, PayloadPaddingKey};
pub use resume::{Fingerprint, range_of, range_position};
pub use session_id::{MAX_SESSION_BYTES, MIN_SESSION_BYTES, SessionId};

/// The most bytes of a request's body, padding included. TRANSPORTS.md 2.6.
pub const MAX_BODY: usize = 65_536;
