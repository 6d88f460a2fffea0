//! A network in memory, with virtual time, for tests of whole clients: what a real one does to connections, when a test says so and
//! as often as a seed says. Not the client: that is in the tests.
//!
//! Time is tokio's: under a paused clock, hours pass in moments, and only when nobody has anything else to do.

mod endpoint;
mod pipe;
mod world;

pub use endpoint::{Endpoint, Seen};
pub use pipe::{Pipe, pair};
pub use world::{Behaviour, Path, World};
