//! Any messages at all under keys, after a key exchange or a login by the book. Which message may come when is `ssh_exchange`'s.

use std::time::Instant;

use culvert_ssh::{ChannelOpen, Connection, Error, Event};

use crate::ssh_peer::{Peer, usual_offer};
use crate::ssh_setup;

/// Messages under keys: each has two bytes of length before it. The first byte of all says to whom, and if after login; a message of
/// length 0 is an action of the application's instead.
pub(crate) fn ssh_messages(data: &[u8]) {
    let Some((mode, mut rest)) = data.split_first() else { return };
    let now = tokio::time::Instant::now().into_std();
    let mut peer = match mode & 1 {
        0 => Peer::of_server(ssh_setup::server_config(), now),
        _ => Peer::of_client(ssh_setup::client_config(), now),
    };
    if mode & 2 == 0 {
        peer.log_in(&usual_offer());
    } else {
        peer.greet().expect("the identification is valid");
        peer.tend(&usual_offer()).expect("the exchange is by the book");
    }
    while let Some(([a, b], after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes([*a, *b])).min(after.len());
        let (message, after) = after.split_at(len);
        rest = after;
        if message.is_empty() {
            act(&mut peer.connection, *b);
        } else if say(&mut peer, message).is_err() {
            return;
        }
    }
}

/// Sends one message and does what a driver does with what it brings. What the connection says to it is not read.
fn say(peer: &mut Peer, message: &[u8]) -> Result<(), Error> {
    let mut packet = peer.packet(message);
    let mut at = 0;
    while at < packet.len() {
        let progress = peer.connection.handle_input(&mut packet[at..], peer.now)?;
        if let Some(data) = progress.data {
            peer.connection.consume(data.id, data.range.len());
        }
        if progress.consumed == 0 {
            break;
        }
        at += progress.consumed;
    }
    assert!(drain(&mut peer.connection, peer.now) <= MOST_SENT, "one message brought forth too much");
    while let Some(event) = peer.connection.poll_event() {
        answer(&mut peer.connection, event);
    }
    Ok(())
}

/// What one message may make a connection send: more is out of proportion to what it was sent.
pub(crate) const MOST_SENT: usize = 1 << 20;

/// How much the connection wanted to send, which is lost.
pub(crate) fn drain(connection: &mut Connection, now: Instant) -> usize {
    let mut out = Vec::new();
    while connection.poll_transmit(&mut out, now) {}
    out.len()
}

/// Does something of its own on all that is open, as an application would.
fn act(connection: &mut Connection, action: u8) {
    if let Ok(id) = connection.open_channel(ChannelOpen { kind: "direct-tcpip", payload: b"x" }) {
        connection.write(id, &[action; 100]);
        match action % 4 {
            0 => connection.finish(id),
            1 => connection.close(id),
            2 => connection.abort(id),
            _ => {}
        }
    }
    let _ = connection.request(b"keepalive@openssh.com", action.is_multiple_of(2), &[action]);
}

fn answer(connection: &mut Connection, event: Event) {
    match event {
        Event::ChannelOffered { id, kind, .. } if kind.len().is_multiple_of(2) => {
            connection.accept_channel(id);
            connection.write(id, b"hello");
        }
        Event::ChannelOffered { id, .. } => connection.reject_channel(id, u32::MAX, "no"),
        Event::ChannelFinished(id) => connection.finish(id),
        Event::ChannelClosed(id) | Event::ChannelRefused { id, .. } => connection.close(id),
        Event::Request { reply: Some(token), payload, .. } => connection.reply(token, Ok(payload)),
        _ => {}
    }
}
