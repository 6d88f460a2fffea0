//! SSH messages as data: numbers, the phase in which each is legal, decoding and encoding.
//!
//! Decoding borrows from the packet; nothing here keeps state. Key exchange payloads (KEXINIT, 30, 31)
//! are decoded in [`crate::kexinit`] and [`crate::kex`], because their meaning depends on the method.
//!
//! Source: RFC 4250 section 4.1.2, RFC 4252, RFC 4254, RFC 8308; PING and PONG: OpenSSH PROTOCOL 1.9.

use crate::wire::{Reader, WireError, WriteWire};

/// Message numbers, RFC 4250 section 4.1.2.
pub(crate) mod number {
    pub(crate) const DISCONNECT: u8 = 1;
    pub(crate) const IGNORE: u8 = 2;
    pub(crate) const UNIMPLEMENTED: u8 = 3;
    pub(crate) const DEBUG: u8 = 4;
    pub(crate) const SERVICE_REQUEST: u8 = 5;
    pub(crate) const SERVICE_ACCEPT: u8 = 6;
    pub(crate) const EXT_INFO: u8 = 7;
    pub(crate) const KEXINIT: u8 = 20;
    pub(crate) const NEWKEYS: u8 = 21;
    pub(crate) const KEX_FIRST: u8 = 30;
    pub(crate) const KEX_LAST: u8 = 49;
    pub(crate) const USERAUTH_REQUEST: u8 = 50;
    pub(crate) const USERAUTH_FAILURE: u8 = 51;
    pub(crate) const USERAUTH_SUCCESS: u8 = 52;
    pub(crate) const USERAUTH_BANNER: u8 = 53;
    pub(crate) const GLOBAL_REQUEST: u8 = 80;
    pub(crate) const REQUEST_SUCCESS: u8 = 81;
    pub(crate) const REQUEST_FAILURE: u8 = 82;
    pub(crate) const CHANNEL_OPEN: u8 = 90;
    pub(crate) const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub(crate) const CHANNEL_OPEN_FAILURE: u8 = 92;
    pub(crate) const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub(crate) const CHANNEL_DATA: u8 = 94;
    pub(crate) const CHANNEL_EXTENDED_DATA: u8 = 95;
    pub(crate) const CHANNEL_EOF: u8 = 96;
    pub(crate) const CHANNEL_CLOSE: u8 = 97;
    pub(crate) const CHANNEL_REQUEST: u8 = 98;
    pub(crate) const CHANNEL_FAILURE: u8 = 100;
    pub(crate) const PING: u8 = 192;
    pub(crate) const PONG: u8 = 193;
}

/// When a message may arrive. RFC 4250 section 4.1.2 gives the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Generic transport messages: legal at any time, except in a strict first exchange.
    Transport,
    /// Algorithm negotiation and the exchange itself.
    KeyExchange,
    /// Service request and user authentication: encrypted, before authentication is done.
    Authentication,
    /// Everything after authentication.
    Connection,
    /// A number that nobody assigned: answered with UNIMPLEMENTED.
    Unknown,
}

/// The layer that a message number belongs to.
pub(crate) fn layer(message: u8) -> Layer {
    match message {
        number::DISCONNECT..=number::DEBUG | number::EXT_INFO => Layer::Transport,
        number::SERVICE_REQUEST | number::SERVICE_ACCEPT => Layer::Authentication,
        number::KEXINIT..=number::KEX_LAST => Layer::KeyExchange,
        number::USERAUTH_REQUEST..=79 => Layer::Authentication,
        number::GLOBAL_REQUEST..=127 | number::PING | number::PONG => Layer::Connection,
        _ => Layer::Unknown,
    }
}

/// A decoded message of any layer but key exchange.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Disconnect { reason: u32, description: &'a [u8] },
    Ignore,
    Unimplemented,
    Debug,
    ServiceRequest(&'a [u8]),
    ServiceAccept(&'a [u8]),
    ExtInfo,
    UserauthRequest { user: &'a [u8], service: &'a [u8], method: AuthMethod<'a> },
    UserauthFailure { partial_success: bool },
    UserauthSuccess,
    UserauthBanner,
    GlobalRequest { name: &'a [u8], want_reply: bool, payload: &'a [u8] },
    RequestSuccess(&'a [u8]),
    RequestFailure,
    ChannelOpen { kind: &'a [u8], sender: u32, window: u32, max_packet: u32, payload: &'a [u8] },
    ChannelOpenConfirmation { recipient: u32, sender: u32, window: u32, max_packet: u32 },
    ChannelOpenFailure { recipient: u32, reason: u32, description: &'a [u8] },
    ChannelWindowAdjust { recipient: u32, bytes: u32 },
    ChannelData { recipient: u32, data: &'a [u8] },
    ChannelExtendedData { recipient: u32, data: &'a [u8] },
    ChannelEof(u32),
    ChannelClose(u32),
    ChannelRequest { recipient: u32, want_reply: bool },
    ChannelReply(u32),
    Ping(&'a [u8]),
    Pong,
}

/// The authentication methods this side tells apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AuthMethod<'a> {
    None,
    Password(&'a [u8]),
    /// Anything else, and password changes: refused.
    Other,
}

/// Decodes a whole payload (message number first). `Ok(None)`: the number is not one of ours.
pub(crate) fn decode(payload: &[u8]) -> Result<Option<Message<'_>>, WireError> {
    let mut reader = Reader::new(payload);
    let message = reader.u8()?;
    Ok(Some(match layer(message) {
        Layer::Transport => decode_transport(message, &mut reader)?,
        Layer::Authentication => match decode_authentication(message, &mut reader)? {
            Some(decoded) => decoded,
            None => return Ok(None),
        },
        Layer::Connection => match decode_connection(message, &mut reader)? {
            Some(decoded) => decoded,
            None => return Ok(None),
        },
        Layer::KeyExchange | Layer::Unknown => return Ok(None),
    }))
}

fn decode_transport<'a>(message: u8, reader: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(match message {
        number::DISCONNECT => Message::Disconnect { reason: reader.u32()?, description: reader.string()? },
        number::IGNORE => Message::Ignore,
        number::UNIMPLEMENTED => Message::Unimplemented,
        number::DEBUG => Message::Debug,
        // RFC 8308 section 2.3: the names are of no use to a client with one password; the entries are not
        // even split, so a peer's count sizes nothing.
        _ => Message::ExtInfo,
    })
}

fn decode_authentication<'a>(message: u8, reader: &mut Reader<'a>) -> Result<Option<Message<'a>>, WireError> {
    Ok(Some(match message {
        number::SERVICE_REQUEST => Message::ServiceRequest(reader.string()?),
        number::SERVICE_ACCEPT => Message::ServiceAccept(reader.string()?),
        number::USERAUTH_REQUEST => Message::UserauthRequest {
            user: reader.string()?,
            service: reader.string()?,
            method: decode_auth_method(reader)?,
        },
        number::USERAUTH_FAILURE => {
            reader.string()?;
            Message::UserauthFailure { partial_success: reader.bool()? }
        }
        number::USERAUTH_SUCCESS => Message::UserauthSuccess,
        number::USERAUTH_BANNER => Message::UserauthBanner,
        _ => return Ok(None),
    }))
}

/// RFC 4252 sections 5 and 8.
fn decode_auth_method<'a>(reader: &mut Reader<'a>) -> Result<AuthMethod<'a>, WireError> {
    Ok(match reader.string()? {
        b"none" => AuthMethod::None,
        b"password" => {
            let change = reader.bool()?;
            let password = reader.string()?;
            if change { AuthMethod::Other } else { AuthMethod::Password(password) }
        }
        _ => AuthMethod::Other,
    })
}

fn decode_connection<'a>(message: u8, reader: &mut Reader<'a>) -> Result<Option<Message<'a>>, WireError> {
    Ok(Some(match message {
        number::GLOBAL_REQUEST => Message::GlobalRequest {
            name: reader.string()?,
            want_reply: reader.bool()?,
            payload: reader.rest(),
        },
        number::REQUEST_SUCCESS => Message::RequestSuccess(reader.rest()),
        number::REQUEST_FAILURE => Message::RequestFailure,
        number::CHANNEL_OPEN => Message::ChannelOpen {
            kind: reader.string()?,
            sender: reader.u32()?,
            window: reader.u32()?,
            max_packet: reader.u32()?,
            payload: reader.rest(),
        },
        number::PING => Message::Ping(reader.string()?),
        number::PONG => Message::Pong,
        number::CHANNEL_OPEN_CONFIRMATION..=number::CHANNEL_FAILURE => decode_channel(message, reader)?,
        _ => return Ok(None),
    }))
}

/// Messages that name one of our channels first: RFC 4254 section 5.
fn decode_channel<'a>(message: u8, reader: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let recipient = reader.u32()?;
    Ok(match message {
        number::CHANNEL_OPEN_CONFIRMATION => Message::ChannelOpenConfirmation {
            recipient,
            sender: reader.u32()?,
            window: reader.u32()?,
            max_packet: reader.u32()?,
        },
        number::CHANNEL_OPEN_FAILURE => {
            Message::ChannelOpenFailure { recipient, reason: reader.u32()?, description: reader.string()? }
        }
        number::CHANNEL_WINDOW_ADJUST => Message::ChannelWindowAdjust { recipient, bytes: reader.u32()? },
        number::CHANNEL_DATA => Message::ChannelData { recipient, data: reader.string()? },
        number::CHANNEL_EXTENDED_DATA => {
            reader.u32()?;
            Message::ChannelExtendedData { recipient, data: reader.string()? }
        }
        number::CHANNEL_EOF => Message::ChannelEof(recipient),
        number::CHANNEL_CLOSE => Message::ChannelClose(recipient),
        number::CHANNEL_REQUEST => {
            reader.string()?;
            Message::ChannelRequest { recipient, want_reply: reader.bool()? }
        }
        _ => Message::ChannelReply(recipient),
    })
}

/// Starts a payload with its message number.
pub(crate) fn start(message: u8) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    payload.push(message);
    payload
}

/// SSH_MSG_DISCONNECT, RFC 4253 section 11.1.
pub(crate) fn disconnect(reason: u32, description: &str) -> Vec<u8> {
    let mut payload = start(number::DISCONNECT);
    payload.put_u32(reason);
    payload.put_string(description.as_bytes());
    payload.put_string(b"");
    payload
}

/// SSH_MSG_UNIMPLEMENTED, RFC 4253 section 11.4: names the packet by its sequence number.
pub(crate) fn unimplemented(sequence: u32) -> Vec<u8> {
    let mut payload = start(number::UNIMPLEMENTED);
    payload.put_u32(sequence);
    payload
}

/// SSH_MSG_SERVICE_REQUEST or _ACCEPT, RFC 4253 section 10.
pub(crate) fn service(message: u8, name: &[u8]) -> Vec<u8> {
    let mut payload = start(message);
    payload.put_string(name);
    payload
}

/// SSH_MSG_USERAUTH_REQUEST with a password, RFC 4252 section 8.
pub(crate) fn password_request(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64 + user.len() + password.len());
    payload.push(number::USERAUTH_REQUEST);
    payload.put_string(user);
    payload.put_string(b"ssh-connection");
    payload.put_string(b"password");
    payload.put_bool(false);
    payload.put_string(password);
    payload
}

/// SSH_MSG_USERAUTH_FAILURE, RFC 4252 section 5.1: only passwords can continue.
pub(crate) fn auth_failure() -> Vec<u8> {
    let mut payload = start(number::USERAUTH_FAILURE);
    payload.put_string(b"password");
    payload.put_bool(false);
    payload
}

/// SSH_MSG_GLOBAL_REQUEST, RFC 4254 section 4.
pub(crate) fn global_request(name: &[u8], want_reply: bool, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(16 + name.len() + body.len());
    payload.push(number::GLOBAL_REQUEST);
    payload.put_string(name);
    payload.put_bool(want_reply);
    payload.extend_from_slice(body);
    payload
}

/// SSH_MSG_CHANNEL_OPEN, RFC 4254 section 5.1.
pub(crate) fn channel_open(kind: &[u8], sender: u32, window: u32, max_packet: u32, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(32 + kind.len() + body.len());
    payload.push(number::CHANNEL_OPEN);
    payload.put_string(kind);
    payload.put_u32(sender);
    payload.put_u32(window);
    payload.put_u32(max_packet);
    payload.extend_from_slice(body);
    payload
}

/// SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 section 5.1. The language tag is `en`: PROTOCOL.md 3.7.
pub(crate) fn channel_open_failure(recipient: u32, reason: u32, description: &[u8]) -> Vec<u8> {
    let mut payload = numbers(number::CHANNEL_OPEN_FAILURE, &[recipient, reason]);
    payload.put_string(description);
    payload.put_string(b"en");
    payload
}

/// A message that is only a row of 32-bit numbers: confirmations, window adjusts, EOF, CLOSE.
pub(crate) fn numbers(message: u8, values: &[u32]) -> Vec<u8> {
    let mut payload = start(message);
    for value in values {
        payload.put_u32(*value);
    }
    payload
}

/// A message whose body follows its number unframed (REQUEST_SUCCESS).
pub(crate) fn with_body(message: u8, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + body.len());
    payload.push(message);
    payload.extend_from_slice(body);
    payload
}

/// SSH_MSG_PONG with the bytes of the PING.
pub(crate) fn pong(data: &[u8]) -> Vec<u8> {
    let mut payload = start(number::PONG);
    payload.put_string(data);
    payload
}

/// EXT_INFO of a server: PROTOCOL.md 3.4.
pub(crate) fn server_ext_info() -> Vec<u8> {
    const SIGNATURE_ALGORITHMS: &[u8] = b"ssh-ed25519,sk-ssh-ed25519@openssh.com,\
        sk-ecdsa-sha2-nistp256@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,\
        rsa-sha2-256,rsa-sha2-512,ssh-rsa,ssh-dss";
    let mut payload = start(number::EXT_INFO);
    payload.put_u32(2);
    payload.put_string(b"server-sig-algs");
    payload.put_string(SIGNATURE_ALGORITHMS);
    payload.put_string(b"ping@openssh.com");
    payload.put_string(b"0");
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_open_round_trips_with_an_extreme_reason_code() {
        let payload = channel_open(b"random@psiphon.ca", 7, 131_072, 32_768, b"{\"u\":1}");
        assert_eq!(
            decode(&payload).unwrap(),
            Some(Message::ChannelOpen {
                kind: b"random@psiphon.ca",
                sender: 7,
                window: 131_072,
                max_packet: 32_768,
                payload: b"{\"u\":1}",
            })
        );
        let payload = channel_open_failure(3, 0xFFFF_FFFF, b"");
        assert_eq!(
            decode(&payload).unwrap(),
            Some(Message::ChannelOpenFailure { recipient: 3, reason: 0xFFFF_FFFF, description: b"" })
        );
    }

    #[test]
    fn every_prefix_of_a_message_is_refused_or_complete() {
        let payload = channel_open(b"direct-tcpip", 1, 2, 3, b"");
        for end in 0..payload.len() {
            assert!(decode(&payload[..end]).is_err(), "prefix of {end} bytes");
        }
        assert!(decode(&payload).unwrap().is_some());
    }

    #[test]
    fn unassigned_numbers_are_nobodys() {
        for message in [8, 19, 79, 101, 127, 128, 191, 194, 255] {
            assert_eq!(decode(&[message]).unwrap(), None, "number {message}");
        }
    }
}
