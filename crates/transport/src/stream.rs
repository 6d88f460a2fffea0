//! A byte stream of any transport.

use tokio::io::{AsyncRead, AsyncWrite};

/// What every transport ends in.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A byte stream of any transport, as the layers above see it.
pub type Stream = Box<dyn ByteStream>;
