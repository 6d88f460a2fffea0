//! TLS on top of rustls, with a hand in what rustls decides by itself: the random of a ClientHello.
//!
//! No sockets, runtime, files or clock. rustls' own key material comes from aws-lc-rs.

pub mod random;
