//! Runs a handshake of either role: records in, records out. One record at a time is handed on, so that nothing behind the handshake is
//! read by it. Source: RFC 8446 section 2.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};

use crate::records::{HEADER, content_length};

/// Bytes of a peer's flight that may wait to be complete.
pub(crate) const MOST_WAITING: usize = 96 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Said by the TLS library: what the peer did, or does not support, or what is wrong with its certificate.
    #[error("TLS handshake: {0}")]
    Tls(#[from] rustls::Error),
    /// Not TLS, or more than a handshake may have.
    #[error("the peer did not answer with a TLS handshake")]
    NotTls,
    /// The library does not do what this was written for: a bug of ours.
    #[error("the TLS library did not take the chosen ClientHello; do not dial")]
    NotChosen,
    /// See the self-test.
    #[error(transparent)]
    Random(#[from] crate::random::NotTaken),
}

/// How a handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The peer is to answer.
    Waiting,
    /// It is done.
    Done,
}

/// Either connection.
pub(crate) trait Machine {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// Takes from the beginning of `incoming` what belongs to the handshake, and hands what is to be sent to `send`, one record each.
pub(crate) fn advance(
    machine: &mut impl Machine,
    incoming: &mut Vec<u8>,
    send: &mut impl FnMut(Vec<u8>),
) -> Result<Progress, HandshakeError> {
    // Bytes of `incoming` that the machine was shown.
    let mut shown = 0;
    loop {
        let piece = incoming.get_mut(..shown).unwrap_or_default();
        let (discard, progress) = step(machine.process(piece), send)?;
        incoming.drain(..discard.min(shown));
        shown -= discard.min(shown);
        match progress {
            None => {}
            Some(Progress::Done) if shown > 0 => return Err(HandshakeError::NotTls),
            Some(Progress::Done) => return Ok(Progress::Done),
            Some(Progress::Waiting) => {
                let rest = incoming.get(shown..).unwrap_or_default();
                let length = content_length(rest).map_err(|_| HandshakeError::NotTls)?;
                match length.map(|length| shown + HEADER + length) {
                    Some(end) if end <= incoming.len() => shown = end,
                    _ if incoming.len() > MOST_WAITING => return Err(HandshakeError::NotTls),
                    _ => return Ok(Progress::Waiting),
                }
            }
        }
    }
}

/// What one call brought; `None` while there is more of the same bytes.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    send: &mut impl FnMut(Vec<u8>),
) -> Result<(usize, Option<Progress>), HandshakeError> {
    let progress = match status.state? {
        ConnectionState::EncodeTlsData(mut data) => {
            let mut record = Vec::new();
            while let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
                data.encode(&mut record)
            {
                record.resize(required_size, 0);
            }
            send(record);
            None
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            None
        }
        ConnectionState::BlockedHandshake => Some(Progress::Waiting),
        ConnectionState::WriteTraffic(_) => Some(Progress::Done),
        _ => return Err(HandshakeError::NotTls),
    };
    Ok((status.discard, progress))
}
