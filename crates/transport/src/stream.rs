//! A byte stream of any transport.

use std::any::Any;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::fragmentor::Fragmented;
use crate::tcp::Split;

/// What every transport ends in.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The connection itself, where nothing is around it that changes bytes.
    fn as_tcp(&self) -> Option<&TcpStream>;
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {
    fn as_tcp(&self) -> Option<&TcpStream> {
        let any = self as &dyn Any;
        any.downcast_ref()
            .or_else(|| any.downcast_ref::<Fragmented>()?.as_tcp())
            .or_else(|| any.downcast_ref::<Split>()?.as_tcp())
    }
}

/// A byte stream of any transport, as the layers above see it.
pub type Stream = Box<dyn ByteStream>;
