//! Meek: a byte stream in HTTP requests and their responses, which may pass proxies and CDNs. Source: TRANSPORTS.md 2.

pub mod wire;
