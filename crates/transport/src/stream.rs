//! A byte stream of any transport.

use std::any::Any;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What every transport ends in.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The connection itself, where nothing is around it.
    fn as_tcp(&self) -> Option<&TcpStream>;
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {
    fn as_tcp(&self) -> Option<&TcpStream> {
        (self as &dyn Any).downcast_ref()
    }
}

/// A byte stream of any transport, as the layers above see it.
pub type Stream = Box<dyn ByteStream>;
