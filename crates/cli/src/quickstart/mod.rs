//! `culvert quickstart`: a server and a client in this process, a tunnel between them, a page and bulk data through it.
//!
//! The steps are in `run`, what they are made of beside it: destinations to reach, requests through the local proxies,
//! bulk data that is checked byte for byte, a progress bar, a folder that cleans up after itself.

pub mod bulk;
mod failure;
pub mod folder;
mod observer;
pub mod origin;
pub mod progress;
pub mod proxies;
mod report;
mod run;
mod setup;
mod table;
mod verdict;

pub use failure::{QuickstartError, StepError};
pub use run::{Plan, run};
