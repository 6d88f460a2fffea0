//! Flows: one `direct-tcpip` channel each.
//!
//! Source: RFC 4254 section 7.2; PROTOCOL.md 3.7, and 12 for the reasons between our own halves.

use std::time::Duration;

use culvert_ssh::wire::WriteWire;
use culvert_ssh_tokio::OpenFailure as ChannelFailure;
use tokio::time::timeout;

use super::ActiveTunnel;
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
            channel.count_with(tunnel.traffic.clone());
            return Ok(FlowStream::Channel(channel));
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
