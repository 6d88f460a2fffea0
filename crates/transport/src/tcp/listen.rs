//! The server's side of plain TCP.

use std::io;
use std::net::SocketAddr;

use culvert_protocol::TunnelProtocol;
use tokio::net::{TcpListener, TcpStream};

use crate::{Accepted, BoxFuture, ConnFacts, Listen, Remote};

/// A TCP port of one protocol.
pub struct TcpListen {
    listener: TcpListener,
    protocol: TunnelProtocol,
}

impl TcpListen {
    /// Binds the port. Fails when it is taken or may not be used.
    pub async fn bind(address: SocketAddr, protocol: TunnelProtocol) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, protocol })
    }

    /// Listens on a port that is bound already, so that several runtimes can share it. Must be called in the runtime
    /// that will accept; the socket must not block.
    pub fn from_std(listener: std::net::TcpListener, protocol: TunnelProtocol) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, protocol })
    }

    /// The address bound, with the port the system chose where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) -> Accepted {
        // Fails only for a connection that is already gone, which the next read will tell.
        let _ = stream.set_nodelay(true);
        let facts = ConnFacts { protocol: self.protocol, peer: Remote(peer) };
        Accepted { stream: Box::new(stream), facts }
    }
}

impl Listen for TcpListen {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok(self.accepted(stream, peer))
        })
    }
}
