//! Flows: one `direct-tcpip` channel each.
//!
//! Source: RFC 4254 section 7.2; PROTOCOL.md 3.7, and 12 for the reasons between our own halves.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use culvert_ssh::wire::WriteWire;
use culvert_ssh_tokio::{ChannelStream, OpenFailure as ChannelFailure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::{ActiveTunnel, Traffic};
use crate::flow::{Destination, FlowStream, OpenFailure, RefusalReason};

const DIRECT_TCPIP: &str = "direct-tcpip";
/// PROTOCOL.md 12: how our server marks a refusal that says why.
const REASON_MARK: &str = "culvert:";

/// Opens a flow within `limit`.
pub(crate) async fn open_flow(
    tunnel: &ActiveTunnel,
    destination: &Destination,
    limit: Duration,
) -> Result<FlowStream, OpenFailure> {
    let payload = direct_tcpip(destination);
    let opened = timeout(limit, tunnel.handle.open(DIRECT_TCPIP, &payload)).await;
    let failure = match opened {
        Ok(Ok(channel)) => {
            return Ok(Box::new(Counted { channel, traffic: tunnel.traffic.clone() }));
        }
        Ok(Err(failure)) => failure,
        Err(_) => {
            tunnel.probes.request();
            return Err(OpenFailure::TimedOut { after: limit });
        }
    };
    Err(match failure {
        ChannelFailure::Refused { reason, description } => {
            OpenFailure::Refused { reason: refusal(reason, &description), detail: None }
        }
        ChannelFailure::Local(_) => OpenFailure::TooManyFlows,
        ChannelFailure::Ended(_) => OpenFailure::TunnelLost,
    })
}

fn direct_tcpip(destination: &Destination) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    payload.put_string(destination.host.to_wire().as_bytes());
    payload.put_u32(destination.port.into());
    // PROTOCOL.md 3.7: the originator is never told.
    payload.put_string(b"0.0.0.0");
    payload.put_u32(0);
    payload
}

fn refusal(code: u32, description: &[u8]) -> RefusalReason {
    let reason = std::str::from_utf8(description).ok().and_then(|text| text.strip_prefix(REASON_MARK));
    match reason {
        Some("rules") => RefusalReason::Rules,
        Some("host-unreachable") => RefusalReason::HostUnreachable,
        Some("network-unreachable") => RefusalReason::NetworkUnreachable,
        Some("connection-refused") => RefusalReason::ConnectionRefused,
        Some("name-not-found") => RefusalReason::NameNotFound,
        Some("timed-out") => RefusalReason::TimedOut,
        Some(_) | None => RefusalReason::Opaque(code),
    }
}

/// A channel whose bytes are counted.
struct Counted {
    channel: ChannelStream,
    traffic: Traffic,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.channel).poll_read(cx, buf);
        self.traffic.add_received(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.channel).poll_write(cx, data);
        if let Poll::Ready(Ok(written)) = polled {
            self.traffic.add_sent(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_our_own_server_are_understood_and_others_are_opaque() {
        assert_eq!(refusal(1, b"culvert:connection-refused"), RefusalReason::ConnectionRefused);
        assert_eq!(refusal(1, b"culvert:something-newer"), RefusalReason::Opaque(1));
        assert_eq!(refusal(0xFE00_0000, b""), RefusalReason::Opaque(0xFE00_0000));
        assert_eq!(refusal(1, b"administratively prohibited"), RefusalReason::Opaque(1));
    }

    #[test]
    fn the_payload_is_that_of_the_rfc() {
        let destination = Destination { host: "a.example".parse().unwrap(), port: 443 };
        let expected = b"\0\0\0\x09a.example\0\0\x01\xbb\0\0\0\x070.0.0.0\0\0\0\0";
        assert_eq!(direct_tcpip(&destination), expected);
    }
}
