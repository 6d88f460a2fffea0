//! One TCP flow: from a channel that the client wants to its end. Source: RFC 4254 section 7.2; PROTOCOL.md 3.7, 12.1.

use std::sync::Arc;

use culvert_ssh::wire::{Reader, WireError};
use culvert_ssh_tokio::IncomingChannel;

use super::destination::Destination;
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
        DialRefusal::Bogon | DialRefusal::Rules => Some("culvert:rules"),
        DialRefusal::Unreachable => Some("culvert:host-unreachable"),
        DialRefusal::NetworkUnreachable => Some("culvert:network-unreachable"),
        DialRefusal::TimedOut => Some("culvert:timed-out"),
        DialRefusal::ConnectionRefused => Some("culvert:connection-refused"),
        DialRefusal::ResourceExhausted => None,
    }
}

/// The host and port of a channel open, as the client wrote them.
pub(crate) fn parse(payload: &[u8]) -> Result<(String, u32), WireError> {
    let mut reader = Reader::new(payload);
    let host = reader.string()?;
    let port = reader.u32()?;
    let (_originator, _originator_port) = (reader.string()?, reader.u32()?);
    // What is no text is no name either, and is refused as such.
    Ok((String::from_utf8_lossy(host).into_owned(), port))
}

/// Connects, accepts the channel and relays. `Err` is a channel that is refused, and why; nothing was answered then.
pub(crate) async fn serve(
    channel: IncomingChannel,
    host: &str,
    port: u32,
    flows: &Arc<Flows>,
) -> Result<(), (IncomingChannel, DialRefusal)> {
    let dialed = match Destination::parse(host, port) {
        Ok(destination) => flows.dial(&destination).await,
        Err(error) => Err(DialRefusal::from(error)),
    };
    let target = match dialed {
        Ok(target) => target,
        Err(refusal) => {
            flows.refused();
            return Err((channel, refusal));
        }
    };
    // Fails only for a connection that is already gone, which the next read will tell.
    let _ = target.set_nodelay(true);
    // None: the tunnel has ended meanwhile.
    let Some(stream) = channel.accept() else { return Ok(()) };
    let place = flows.enter();
    tokio::select! {
        () = relay(stream, target, place.meter(), place.idle_timeout()) => {}
        () = place.evicted() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_of_the_reference_are_understood() {
        let open = b"\0\0\0\x09127.0.0.1\0\0\x5f\xa0\0\0\0\x070.0.0.0\0\0\0\0";
        assert_eq!(parse(open).unwrap(), ("127.0.0.1".to_owned(), 24480));
        for end in 0..open.len() {
            assert!(parse(&open[..end]).is_err(), "{end}");
        }
    }
}
