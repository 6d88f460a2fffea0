//! A Shadowsocks AEAD stream without a target address: what SHADOWSOCKS-OSSH runs on. `wire` is the format, `stream` the
//! byte stream made of it. Source: TRANSPORTS.md 4.

mod accept;
mod dial;
mod stream;
#[cfg(test)]
mod tests;
pub mod wire;

pub use accept::{Greeting, Refused, greet};
pub use dial::{Plan, dial};
pub use wire::{DRAWN_LEN, Key, PrefixTooLong, Salt, SaltPrefix};
