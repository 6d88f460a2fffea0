//! The cipher of one direction. Source: RFC 8446 sections 5.2, 5.3; RFC 5246 section 6.2.3.3; RFC 5288 section 3; RFC 7905 section 2.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::{APPLICATION_DATA, HEADER, MOST_DATA, RecordError};

const TAG: usize = 16;
/// Bytes of the nonce that TLS 1.2 sends along with AES-GCM.
const EXPLICIT: usize = 8;

/// How nonces and content types travel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Tls13,
    /// With a part of the nonce.
    Tls12Gcm,
    Tls12ChaCha,
}

/// Key, nonce and count of one direction.
pub(super) struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    layout: Layout,
    sequence: u64,
}

impl Direction {
    pub(super) fn new(secrets: &ConnectionTrafficSecrets, sequence: u64, tls13: bool) -> Option<Self> {
        let (algorithm, key, iv, older) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, Layout::Tls12Gcm),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, Layout::Tls12Gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, Layout::Tls12ChaCha)
            }
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let iv = *iv.as_ref().first_chunk()?;
        Some(Self { key, iv, layout: if tls13 { Layout::Tls13 } else { older }, sequence })
    }

    /// Records sealed so far.
    pub(super) fn sealed(&self) -> u64 {
        self.sequence
    }

    /// Appends one record of at most [`MOST_DATA`] bytes.
    pub(super) fn seal(&mut self, kind: u8, data: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        let nonce = self.nonce(sequence);
        let start = out.len() + HEADER;
        match self.layout {
            Layout::Tls13 => {
                let header = header(APPLICATION_DATA, data.len() + 1 + TAG);
                out.extend_from_slice(&header);
                out.extend_from_slice(data);
                out.push(kind);
                self.seal_from(start, nonce, &header, out)
            }
            Layout::Tls12Gcm | Layout::Tls12ChaCha => {
                let explicit = if self.layout == Layout::Tls12Gcm { EXPLICIT } else { 0 };
                out.extend_from_slice(&header(kind, explicit + data.len() + TAG));
                out.extend_from_slice(nonce.get(NONCE_LEN - explicit..).unwrap_or_default());
                out.extend_from_slice(data);
                self.seal_from(start + explicit, nonce, &pseudo_header(sequence, kind, data.len()), out)
            }
        }
    }

    fn seal_from(
        &self,
        start: usize,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let content = out.get_mut(start..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(associated), content)
            .map_err(|_| RecordError::Exhausted)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens one whole record in place. Returns its real type and where its content is.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), RecordError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        let (header, content) = record.split_first_chunk_mut::<HEADER>().ok_or(RecordError::Protocol)?;
        let kind = header.first().copied().unwrap_or_default();
        let mut nonce = self.nonce(sequence);
        match self.layout {
            Layout::Tls13 => {
                if kind != APPLICATION_DATA {
                    return Err(RecordError::Protocol);
                }
                let opened = self.open_content(nonce, &*header, content)?;
                // RFC 8446 section 5.4: zeros behind the type are padding.
                let end = opened.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Protocol)?;
                let kind = opened.get(end).copied().unwrap_or_default();
                if end > MOST_DATA {
                    return Err(RecordError::Protocol);
                }
                Ok((kind, HEADER..HEADER + end))
            }
            Layout::Tls12Gcm | Layout::Tls12ChaCha => {
                let explicit = if self.layout == Layout::Tls12Gcm { EXPLICIT } else { 0 };
                let (given, content) = content.split_at_mut_checked(explicit).ok_or(RecordError::Forged)?;
                for (to, from) in nonce.iter_mut().skip(NONCE_LEN - explicit).zip(given) {
                    *to = *from;
                }
                let length = content.len().checked_sub(TAG).ok_or(RecordError::Forged)?;
                let opened = self.open_content(nonce, &pseudo_header(sequence, kind, length), content)?;
                Ok((kind, HEADER + explicit..HEADER + explicit + opened.len()))
            }
        }
    }

    fn open_content<'c>(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        content: &'c mut [u8],
    ) -> Result<&'c mut [u8], RecordError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, Aad::from(associated), content).map_err(|_| RecordError::Forged)
    }

    fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (to, from) in nonce.iter_mut().skip(NONCE_LEN - EXPLICIT).zip(sequence.to_be_bytes()) {
            *to ^= from;
        }
        nonce
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// What TLS 1.2 authenticates along with the content.
fn pseudo_header(sequence: u64, kind: u8, length: usize) -> [u8; 13] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d, e, f, g, h, kind, 3, 3, high, low]
}
