//! Tickets that a client makes itself, from a secret that it shares with the server: sealed, opened and read. Source: TRANSPORTS.md 1.7.

use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::hello::Fields;

/// Bytes of a shared secret.
pub const SECRET_LEN: usize = 32;
/// Bytes before and behind what is encrypted.
const IV: usize = 16;
const TAG: usize = 32;
/// Zeros behind a state, one of these numbers of them, so that not all tickets are alike.
pub const PADDINGS: [usize; 8] = [40, 56, 72, 88, 98, 104, 120, 135];
/// Seconds for which a ticket is good.
const LIFETIME: u64 = 7 * 24 * 3600;
/// The most bytes of a ticket that are looked at.
const MOST: usize = 4096;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// The state is a server's.
const OF_SERVER: u8 = 1;
/// X25519.
const CURVE: u16 = 0x001d;

/// What client and server share.
#[derive(Clone)]
pub struct TicketSecret {
    cipher_key: Zeroizing<[u8; 16]>,
    mac_key: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted ticket secret]")
    }
}

impl PartialEq for TicketSecret {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&*self.mac_key, &*other.mac_key).is_ok()
    }
}

impl Eq for TicketSecret {}

/// What a ticket says. Printed without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketState {
    /// TLS 1.3, or 1.2.
    pub is_tls13: bool,
    /// The only suite that it is good for.
    pub suite: u16,
    /// Seconds since 1970.
    pub created: u64,
    /// Master secret, or pre-shared key.
    pub secret: Zeroizing<Vec<u8>>,
    /// Whether the session has an extended master secret. RFC 7627.
    pub extended_master_secret: bool,
}

impl std::fmt::Debug for TicketState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketState").field("is_tls13", &self.is_tls13).finish_non_exhaustive()
    }
}

impl TicketSecret {
    /// From the bytes that both ends have.
    #[must_use]
    pub fn new(secret: &[u8; SECRET_LEN]) -> Self {
        let digest = digest(&SHA512, secret);
        let part = |from: usize| {
            let bytes = digest.as_ref().get(from..).and_then(|rest| rest.first_chunk::<16>());
            Zeroizing::new(bytes.copied().unwrap_or_default())
        };
        Self { cipher_key: part(16), mac_key: part(32) }
    }

    /// The same from the form in which configs and entries have them. `None`: not hexadecimal, or of another length; then there are no such tickets.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes.collect::<Option<_>>()?);
        bytes.as_slice().try_into().ok().map(Self::new)
    }

    /// A ticket with this state and `padding` zeros behind it. `None` for a secret of more than 255 bytes.
    #[must_use]
    pub fn seal(&self, iv: [u8; IV], state: &TicketState, padding: usize) -> Option<Vec<u8>> {
        let mut content = state.to_bytes()?;
        content.resize(content.len() + padding, 0);
        let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &*self.cipher_key).ok()?).ok()?;
        key.less_safe_encrypt(&mut content, EncryptionContext::Iv128((&iv).into())).ok()?;
        let mut ticket = [&iv[..], &content].concat();
        let tag = hmac::sign(&self.mac_key(), &ticket);
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Opens a ticket of a client. `None`: another's, damaged, or older than a week at `now`, in seconds since 1970.
    #[must_use]
    pub fn open(&self, ticket: &[u8], now: u64) -> Option<TicketState> {
        let state = self.read(ticket)?;
        // One from a clock that is ahead is taken. TRANSPORTS.md 1.7.
        (now.saturating_sub(state.created) <= LIFETIME).then_some(state)
    }

    /// The same, of any age.
    #[must_use]
    pub fn read(&self, ticket: &[u8]) -> Option<TicketState> {
        if ticket.len() > MOST {
            return None;
        }
        let (sealed, tag) = ticket.split_at_checked(ticket.len().checked_sub(TAG)?)?;
        hmac::verify(&self.mac_key(), sealed, tag).ok()?;
        let (iv, content) = sealed.split_first_chunk::<IV>()?;
        let mut content = Zeroizing::new(content.to_vec());
        let key = DecryptingKey::ctr(UnboundCipherKey::new(&AES_128, &*self.cipher_key).ok()?).ok()?;
        key.decrypt(&mut content, DecryptionContext::Iv128(iv.into())).ok()?;
        TicketState::parse(&content)
    }

    fn mac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.mac_key)
    }
}

impl TicketState {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = if self.is_tls13 { TLS13 } else { TLS12 }.to_be_bytes().to_vec();
        bytes.push(OF_SERVER);
        bytes.extend(self.suite.to_be_bytes());
        bytes.extend(self.created.to_be_bytes());
        bytes.push(u8::try_from(self.secret.len()).ok()?);
        bytes.extend_from_slice(&self.secret);
        // No extra data.
        bytes.extend([0; 3]);
        bytes.push(u8::from(self.extended_master_secret));
        // No early data, certificates or chains.
        bytes.extend([0; 1 + 3 + 3]);
        if !self.is_tls13 {
            bytes.extend(CURVE.to_be_bytes());
        }
        Some(bytes)
    }

    /// Reads what a ticket holds: a state, and zeros behind it. `None`: it is none of ours.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let version = fields.number()?;
        let is_tls13 = version == TLS13;
        if !is_tls13 && version != TLS12 || fields.byte()? != OF_SERVER {
            return None;
        }
        let suite = fields.number()?;
        let created = fields.number64()?;
        let secret = fields.vector8().filter(|secret| !secret.is_empty())?;
        let extra = fields.number24()?;
        fields.take(extra)?;
        let flag = |byte: u8| (byte < 2).then_some(byte == 1);
        let extended_master_secret = flag(fields.byte()?)?;
        // Early data, certificates and chains: none of ours has any.
        if fields.take(1 + 3 + 3)?.iter().any(|byte| *byte != 0) {
            return None;
        }
        if !is_tls13 {
            // Older clients had no curve there, but padding.
            fields.number()?;
        }
        fields.0.iter().all(|byte| *byte == 0).then(|| Self {
            is_tls13,
            suite,
            created,
            secret: Zeroizing::new(secret.to_vec()),
            extended_master_secret,
        })
    }
}
