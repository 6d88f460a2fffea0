//! Flows: one `direct-tcpip` channel each.
//!
//! Source: RFC 4254 section 7.2; PROTOCOL.md 3.7, and 12 for what is between our own halves.

use std::time::Duration;

use culvert_ssh::direct_tcpip::{DirectTcpip, MAX_FIRST_BYTES, NO_ROOM_TEXT};
use culvert_ssh_tokio::{ChannelStream, OpenFailure as ChannelFailure};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::ActiveTunnel;
use crate::flow::{Destination, FlowStream, OpenFailure, RefusalReason};

const DIRECT_TCPIP: &str = "direct-tcpip";
/// PROTOCOL.md 12: how our server marks a refusal that says why.
const REASON_MARK: &str = "culvert:";

/// A flow that was not opened.
#[derive(Debug)]
pub(crate) struct NotOpened {
    pub(crate) failure: OpenFailure,
    /// Nothing of the flow can have reached its destination.
    pub(crate) nothing_sent: bool,
}

/// Opens a flow within `limit` that begins with `first_bytes`; they go with the open if the server takes that.
pub(crate) async fn open_flow(
    tunnel: &ActiveTunnel,
    destination: &Destination,
    first_bytes: &[u8],
    limit: Duration,
) -> Result<FlowStream, NotOpened> {
    let most = if tunnel.carries_first_bytes { MAX_FIRST_BYTES.min(first_bytes.len()) } else { 0 };
    let (carried, rest) = first_bytes.split_at(most);
    match timeout(limit, open_carrying(tunnel, destination, carried, rest)).await {
        Ok(opened) => opened.map(FlowStream::Channel),
        Err(_) => {
            tunnel.probes.request();
            let failure = OpenFailure::TimedOut { after: limit };
            Err(NotOpened { failure, nothing_sent: carried.is_empty() })
        }
    }
}

/// The peer's SSH connection has no room for what opens carry, and does not know the text. RFC 4254 section 5.1.
const RESOURCE_SHORTAGE: u32 = 4;

async fn open_carrying(
    tunnel: &ActiveTunnel,
    destination: &Destination,
    carried: &[u8],
    rest: &[u8],
) -> Result<ChannelStream, NotOpened> {
    let lost_before = tunnel.handle.end().is_some();
    let (mut channel, behind) = match open_channel(tunnel, destination, carried).await {
        Ok(channel) => (channel, [&[], rest]),
        Err(ChannelFailure::Refused { reason, description })
            if reason == RESOURCE_SHORTAGE || description == NO_ROOM_TEXT.as_bytes() =>
        {
            let again = open_channel(tunnel, destination, b"").await;
            (again.map_err(|failure| NotOpened::new(failure, true))?, [carried, rest])
        }
        Err(failure) => return Err(NotOpened::new(failure, carried.is_empty() || lost_before)),
    };
    for bytes in behind {
        let written = channel.write_all(bytes).await;
        written.map_err(|_| NotOpened { failure: OpenFailure::TunnelLost, nothing_sent: false })?;
    }
    Ok(channel)
}

async fn open_channel(
    tunnel: &ActiveTunnel,
    destination: &Destination,
    first_bytes: &[u8],
) -> Result<ChannelStream, ChannelFailure> {
    let host = destination.host.to_wire();
    let open = DirectTcpip { host: host.as_bytes(), port: destination.port.into(), first_bytes };
    let channel = tunnel.handle.open(DIRECT_TCPIP, &open.encode()).await?;
    tunnel.traffic.add_sent(first_bytes.len());
    channel.count_with(tunnel.traffic.clone());
    Ok(channel)
}

impl NotOpened {
    fn new(failure: ChannelFailure, nothing_sent: bool) -> Self {
        let failure = match failure {
            ChannelFailure::Refused { reason, description } => {
                OpenFailure::Refused { reason: refusal(reason, &description), detail: None }
            }
            ChannelFailure::Local(_) => OpenFailure::TooManyFlows,
            ChannelFailure::Ended(_) => OpenFailure::TunnelLost,
        };
        Self { failure, nothing_sent }
    }
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
}
