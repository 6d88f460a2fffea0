//! What QUIC-OSSH needs of a server: a port for datagrams, and who is let in there. Strangers cost nothing that lasts: their datagrams are dropped, and
//! only counted. Source: TRANSPORTS.md 3.3.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use culvert_protocol::TunnelProtocol;
use culvert_transport::Remote;
use culvert_transport::quic::{Admission, KeyText, QuicListen, QuicServer, Refused};
use culvert_transport::tls::MESSAGE_LEN;

use crate::services::Services;

/// What ports of QUIC-OSSH are served with.
pub(crate) struct QuicService {
    pub(crate) server: QuicServer,
    pub(crate) key: KeyText,
}

/// Listens on a bound port, in the runtime that is to serve it. `None` is a bug: the configuration brings the service along with such a port.
pub(crate) fn listen(
    socket: UdpSocket,
    protocol: TunnelProtocol,
    services: &Arc<Services>,
) -> Option<io::Result<QuicListen>> {
    let quic = services.quic.as_ref()?;
    let port = socket.local_addr().map(|address| address.port()).unwrap_or_default();
    let doorman = Box::new(Doorman { services: services.clone(), protocol, port });
    Some(QuicListen::from_std(socket, &quic.server, quic.key.as_str(), doorman))
}

struct Doorman {
    services: Arc<Services>,
    protocol: TunnelProtocol,
    port: u16,
}

impl Admission for Doorman {
    fn admit(&self, proof: &[u8; MESSAGE_LEN], peer: Remote) -> bool {
        self.services.ssh.admit_bytes(proof, peer)
    }

    fn refused(&self, why: Refused) {
        let error = match why {
            Refused::Garbage => "unexpected datagram",
            Refused::Forged => "invalid QUIC client random",
            Refused::Replayed => "replayed QUIC client random",
        };
        self.services.irregular.record(self.protocol, self.port, error);
    }
}
