//! One TCP flow: from a channel that the client wants to its end. Source: RFC 4254 section 7.2; PROTOCOL.md 3.7, 12.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_ssh::direct_tcpip::{DirectTcpip, NO_ROOM_TEXT};
use culvert_ssh_tokio::IncomingChannel;
use tokio::net::TcpStream;

use super::destination::{Destination, HostName};
use super::destination_bytes::Carrier;
use super::early::{Early, FirstBytes, NotKept};
use super::egress::DialRefusal;
use super::flows::Flows;
use super::relay::relay;

/// RFC 4254 section 5.1, and the text of the reference (PROTOCOL.md 3.7).
const PROHIBITED: (u32, &str) = (1, "administratively prohibited");

/// What a client is told of a refused flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candour {
    /// Nothing, like the reference.
    Opaque,
    /// Why: the client declared that it understands (PROTOCOL.md 12.1).
    Reasons,
}

/// Refuses a channel without a reason.
pub(crate) fn prohibit(channel: IncomingChannel) {
    let (reason, text) = PROHIBITED;
    channel.reject(reason, text);
}

/// Refuses an open that is none, or cannot carry what it does (PROTOCOL.md 12.2).
pub(crate) fn refuse_open(channel: IncomingChannel, unwanted: Unwanted) {
    match unwanted {
        Unwanted::Prohibited => prohibit(channel),
        Unwanted::NoRoom => channel.reject(PROHIBITED.0, NO_ROOM_TEXT),
    }
}

/// Refuses a flow, with the reason if the client understands one.
pub(crate) fn refuse(channel: IncomingChannel, refusal: DialRefusal, candour: Candour) {
    match (candour, reason_text(refusal)) {
        (Candour::Reasons, Some(text)) => channel.reject(PROHIBITED.0, text),
        _ => prohibit(channel),
    }
}

/// PROTOCOL.md 12.1. This server's own troubles are none of them.
fn reason_text(refusal: DialRefusal) -> Option<&'static str> {
    match refusal {
        DialRefusal::NameNotFound => Some("culvert:name-not-found"),
        DialRefusal::Bogon | DialRefusal::Rules | DialRefusal::Blocked => Some("culvert:rules"),
        DialRefusal::Unreachable => Some("culvert:host-unreachable"),
        DialRefusal::NetworkUnreachable => Some("culvert:network-unreachable"),
        DialRefusal::TimedOut => Some("culvert:timed-out"),
        DialRefusal::ConnectionRefused => Some("culvert:connection-refused"),
        DialRefusal::DialingLimit | DialRefusal::ResourceExhausted => None,
    }
}

/// A flow as a client asks for it.
pub(crate) struct Wanted {
    pub(crate) host: String,
    pub(crate) port: u32,
    first_bytes: FirstBytes,
}

/// A channel open that is refused before anything is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwanted {
    /// It is malformed, or carries what was not agreed on.
    Prohibited,
    /// It carries bytes when too many are held already.
    NoRoom,
}

impl Wanted {
    /// Reads a channel open.
    pub(crate) fn parse(payload: &[u8], early: &Early) -> Result<Self, Unwanted> {
        let open = DirectTcpip::decode(payload).map_err(|_| Unwanted::Prohibited)?;
        Ok(Self {
            // What is no text is no name either, and is refused as such.
            host: String::from_utf8_lossy(open.host).into_owned(),
            port: open.port,
            first_bytes: early.keep(open.first_bytes).map_err(|kept| match kept {
                NotKept::Unasked => Unwanted::Prohibited,
                NotKept::NoRoom => Unwanted::NoRoom,
            })?,
        })
    }

    /// What the flow begins with, for whoever serves it instead.
    pub(crate) fn into_first_bytes(self) -> FirstBytes {
        self.first_bytes
    }
}

/// Connects, passes on what the flow begins with, accepts the channel and relays. `Err` is a channel that is refused, and
/// why; nothing was answered then.
pub(crate) async fn serve(
    channel: IncomingChannel,
    wanted: Wanted,
    flows: &Arc<Flows>,
) -> Result<(), (IncomingChannel, DialRefusal)> {
    let first_bytes = wanted.first_bytes.as_slice().len();
    let header = flows.exit().header(&wanted.host);
    let (destination, target, before) = match connect(wanted, flows, header.is_some()).await {
        Ok(connected) => connected,
        Err(refusal) => {
            flows.refused(refusal);
            return Err((channel, refusal));
        }
    };
    // None: the tunnel has ended meanwhile.
    let Some(stream) = channel.accept() else { return Ok(()) };
    let place = flows.enter();
    let name = destination.name();
    if name.is_some() {
        flows.entered_by_name();
    }
    place.meter().add_received(first_bytes);
    let address = target.peer_addr().ok();
    let _charge = address.and_then(|to| flows.exit().charge(to.ip(), Carrier::Tcp, place.meter()));
    let (mut stream, mut target) = (stream, target);
    let relayed = async {
        if let Some(header) = header {
            let began = header.begin(&mut stream, &mut target, before, place.idle_timeout()).await;
            match began {
                Ok(read) => place.meter().add_received(read),
                // Both ends are closed.
                Err(_) => return,
            }
        }
        relay(stream, target, &place).await;
    };
    tokio::select! {
        () = relayed => {}
        () = place.evicted() => {}
        refusal = forbidden(flows, address, name) => flows.refused(refusal),
    }
    Ok(())
}

async fn forbidden(flows: &Flows, address: Option<SocketAddr>, name: Option<&HostName>) -> DialRefusal {
    match address {
        Some(address) => flows.forbidden(address, name).await,
        None => std::future::pending().await,
    }
}

/// A connection to where a flow goes, with the first bytes under way, or given back where a header must come before them.
/// They are given up before the channel is accepted: once it hears that, the client counts them no longer.
async fn connect(
    wanted: Wanted,
    flows: &Flows,
    has_header: bool,
) -> Result<(Destination, TcpStream, Vec<u8>), DialRefusal> {
    let destination = Destination::parse(&wanted.host, wanted.port)?;
    let mut target = flows.dial(&destination).await?;
    // Fails only for a connection that is already gone, which the next read will tell.
    let _ = target.set_nodelay(true);
    let first_bytes = wanted.first_bytes.as_slice();
    if has_header {
        return Ok((destination, target, first_bytes.to_vec()));
    }
    flows.begin(&mut target, first_bytes).await?;
    Ok((destination, target, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_carries_bytes_only_if_that_was_agreed_on() {
        let open = |first_bytes| DirectTcpip { host: b"a.example", port: 443, first_bytes }.encode();
        let plain = Wanted::parse(&open(b""), &Early::None).ok().unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("a.example", 443));
        assert!(matches!(Wanted::parse(&open(b"hello"), &Early::None), Err(Unwanted::Prohibited)));
        let wanted = Wanted::parse(&open(b"hello"), &Early::taken()).ok().unwrap();
        assert_eq!(wanted.first_bytes.as_slice(), b"hello");
        assert!(matches!(Wanted::parse(b"\0\0\0\x01a", &Early::taken()), Err(Unwanted::Prohibited)));
    }
}
