//! A client's end of the UDP gateway.

use std::net::SocketAddr;

use culvert_protocol::udpgw::{Datagram, Flags, FrameReader, encode_upstream};
use culvert_ssh_tokio::ChannelStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::server::{Client, SOON};

pub(crate) struct Gateway {
    channel: ChannelStream,
    frames: FrameReader,
    unread: Vec<u8>,
    next: u16,
}

impl Gateway {
    pub(crate) async fn open(client: &Client) -> Self {
        let channel = client.flow_to("127.0.0.1", 7300).await.unwrap();
        Self { channel, frames: FrameReader::new(), unread: Vec::new(), next: 0 }
    }

    /// Sends over a connection that was not used before.
    pub(crate) async fn send(&mut self, remote: SocketAddr, flags: Flags, packet: &[u8]) -> u16 {
        self.next += 1;
        self.send_over(self.next, remote, flags, packet).await;
        self.next
    }

    /// Over one that may have been.
    pub(crate) async fn send_over(
        &mut self,
        connection: u16,
        remote: SocketAddr,
        flags: Flags,
        packet: &[u8],
    ) {
        let datagram = Datagram { flags, connection, remote, packet: packet.to_vec() };
        self.channel.write_all(&encode_upstream(&datagram).unwrap()).await.unwrap();
    }

    /// The next datagram of a connection of IPv4; others are passed over.
    pub(crate) async fn next_over(&mut self, connection: u16) -> Vec<u8> {
        loop {
            let (from, packet) = self.next(false).await;
            if from == connection {
                return packet;
            }
        }
    }

    /// The connection and bytes of the next datagram, which must be of that family: frames do not say.
    pub(crate) async fn next(&mut self, is_ipv6: bool) -> (u16, Vec<u8>) {
        loop {
            let (taken, datagram) = self.frames.read_downstream(&self.unread, |_| Some(is_ipv6)).unwrap();
            self.unread.drain(..taken);
            if let Some(Datagram { connection, packet, .. }) = datagram {
                return (connection, packet);
            }
            let mut piece = [0; 4096];
            let count = timeout(SOON, self.channel.read(&mut piece)).await.expect("a datagram").unwrap();
            assert_ne!(count, 0, "the gateway ended");
            self.unread.extend_from_slice(&piece[..count]);
        }
    }
}
