//! The format: keys, salts and chunks. Takes and gives bytes only. Source: TRANSPORTS.md 4, SIP004.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hkdf, hmac};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// Bytes before the first chunk of each direction.
pub const SALT_LEN: usize = 32;
/// Bytes behind each sealed part.
pub const TAG_LEN: usize = 16;
/// The most payload of a chunk.
pub const MAX_CHUNK: usize = 0x3FFF;
/// Bytes of a sealed length.
pub const LENGTH_LEN: usize = 2 + TAG_LEN;
/// The longest prefix: half of the salt must stay random, or salts would repeat.
pub const MAX_PREFIX: usize = 16;
/// Bytes of a server's salt that are drawn; the others mark it.
pub const DRAWN_LEN: usize = 28;

const KEY_LEN: usize = 32;
const MARK_KEY_LEN: usize = 20;

/// The master key, and with it the key of the marks.
#[derive(Clone)]
pub struct Key {
    master: Zeroizing<[u8; KEY_LEN]>,
    mark: Zeroizing<[u8; MARK_KEY_LEN]>,
}

impl Key {
    /// The key of a password: `EVP_BytesToKey` of OpenSSL with MD5, no salt and one round.
    #[must_use]
    pub fn from_password(password: &str) -> Self {
        let first = Md5::digest(password.as_bytes());
        let second = Md5::new().chain_update(first).chain_update(password.as_bytes()).finalize();
        let mut master = Zeroizing::new([0; KEY_LEN]);
        for (to, from) in master.iter_mut().zip(first.into_iter().chain(second)) {
            *to = from;
        }
        let mut mark = Zeroizing::new([0; MARK_KEY_LEN]);
        derive(password.as_bytes(), &[], b"outline-server-salt", &mut *mark);
        Self { master, mark }
    }

    /// The master key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.master
    }

    /// The key of the direction that begins with this salt.
    #[must_use]
    pub fn session(&self, salt: &Salt) -> Zeroizing<[u8; KEY_LEN]> {
        let mut session = Zeroizing::new([0; KEY_LEN]);
        derive(&*self.master, &salt.0, b"ss-subkey", &mut *session);
        session
    }

    fn mark_of(&self, drawn: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &*self.mark), drawn)
    }

    fn aead(&self, salt: &Salt) -> LessSafeKey {
        let session = self.session(salt);
        let unbound =
            UnboundKey::new(&CHACHA20_POLY1305, &*session).expect("the key has the cipher's length");
        LessSafeKey::new(unbound)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted Shadowsocks key]")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&*self.master, &*other.master).is_ok()
    }
}

impl Eq for Key {}

/// HKDF-SHA1.
fn derive(secret: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA1_FOR_LEGACY_USE_ONLY, salt);
    let length = Length(out.len());
    let filled = salt.extract(secret).expand(&[info], length).and_then(|okm| okm.fill(out));
    filled.expect("a key is shorter than 255 digests");
}

/// What a client's salt begins with, so that a connection does not begin with noise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaltPrefix(Vec<u8>);

/// The settings' prefix leaves too little of the salt. Local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Shadowsocks prefix has at most {MAX_PREFIX} bytes, this one has {0}")]
pub struct PrefixTooLong(pub usize);

impl SaltPrefix {
    /// A prefix of these bytes.
    ///
    /// # Errors
    /// There are more than [`MAX_PREFIX`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, PrefixTooLong> {
        if bytes.len() > MAX_PREFIX { Err(PrefixTooLong(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a direction begins with; never the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt([u8; SALT_LEN]);

impl Salt {
    /// A salt from the wire.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SALT_LEN]) -> Self {
        Self(bytes)
    }

    /// A client's: random but for the prefix.
    #[must_use]
    pub fn of_client(mut random: [u8; SALT_LEN], prefix: &SaltPrefix) -> Self {
        for (to, from) in random.iter_mut().zip(&prefix.0) {
            *to = *from;
        }
        Self(random)
    }

    /// A server's: its end is a function of the rest, by which the server knows its own.
    #[must_use]
    pub fn of_server(drawn: [u8; DRAWN_LEN], key: &Key) -> Self {
        let mark = key.mark_of(&drawn);
        let mut salt = [0; SALT_LEN];
        for (to, from) in salt.iter_mut().zip(drawn.iter().chain(mark.as_ref())) {
            *to = *from;
        }
        Self(salt)
    }

    /// Whether a server with this key made it: whoever sends it to that server has it from there.
    #[must_use]
    pub fn is_of_server(&self, key: &Key) -> bool {
        let (drawn, mark) = self.0.split_at(DRAWN_LEN);
        let expected = key.mark_of(drawn);
        verify_slices_are_equal(expected.as_ref().get(..mark.len()).unwrap_or_default(), mark).is_ok()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SALT_LEN] {
        &self.0
    }
}

/// Counts the sealed parts of a direction: little-endian from zero.
struct Counter(u128);

impl Counter {
    fn next(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().zip(self.0.to_le_bytes()) {
            *to = from;
        }
        // 2^96 parts are more than any connection carries.
        self.0 += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals one direction.
pub struct Sealer {
    key: LessSafeKey,
    counter: Counter,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// For the direction that begins with `salt`, which the caller sends.
    #[must_use]
    pub fn new(key: &Key, salt: &Salt) -> Self {
        Self { key: key.aead(salt), counter: Counter(0) }
    }

    /// Appends `data` in chunks.
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) {
        for chunk in data.chunks(MAX_CHUNK) {
            let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
            self.seal_part(&length.to_be_bytes(), out);
            self.seal_part(chunk, out);
        }
    }

    fn seal_part(&mut self, part: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(part);
        let nonce = self.counter.next();
        let sealed = self.key.seal_in_place_separate_tag(
            nonce,
            Aad::empty(),
            out.get_mut(start..).unwrap_or_default(),
        );
        out.extend_from_slice(sealed.expect("a chunk is shorter than the cipher's limit").as_ref());
    }
}

/// The peer does not have the key, or the stream was changed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a Shadowsocks chunk that is not authentic")]
pub struct Forged;

/// Opens one direction, behind its salt.
pub struct Opener {
    key: LessSafeKey,
    counter: Counter,
    /// Payload of the chunk whose length has been opened.
    length: Option<usize>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

/// What was made of the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes that are done with.
    pub consumed: usize,
    /// Where in the input the payload now is; empty where only a length was opened, or a chunk without payload.
    pub payload: Range<usize>,
}

impl Opener {
    /// For the direction that began with `salt`.
    #[must_use]
    pub fn new(key: &Key, salt: &Salt) -> Self {
        Self { key: key.aead(salt), counter: Counter(0), length: None }
    }

    /// Opens the next part in place; `None`: it is not complete yet. Call until then.
    ///
    /// # Errors
    /// The part is not authentic; nothing that follows can be.
    pub fn open(&mut self, input: &mut [u8]) -> Result<Option<Opened>, Forged> {
        let plain = self.length.unwrap_or(2);
        let Some(part) = input.get_mut(..plain + TAG_LEN) else { return Ok(None) };
        let nonce = self.counter.next();
        let opened = self.key.open_in_place(nonce, Aad::empty(), part).map_err(|_| Forged)?;
        let payload = match self.length.take() {
            Some(length) => 0..length,
            None => {
                let length = u16::from_be_bytes([opened[0], opened[1]]);
                // The two upper bits are reserved; peers ignore them.
                self.length = Some(usize::from(length) & MAX_CHUNK);
                0..0
            }
        };
        Ok(Some(Opened { consumed: plain + TAG_LEN, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Opener) {
        let key = Key::from_password("password");
        let salt = Salt::from_bytes([7; SALT_LEN]);
        (Sealer::new(&key, &salt), Opener::new(&key, &salt))
    }

    fn open_all(opener: &mut Opener, wire: &mut [u8]) -> Result<(Vec<u8>, usize), Forged> {
        let (mut plain, mut at) = (Vec::new(), 0);
        while let Some(opened) = opener.open(&mut wire[at..])? {
            plain.extend_from_slice(&wire[at + opened.payload.start..at + opened.payload.end]);
            at += opened.consumed;
        }
        Ok((plain, at))
    }

    #[test]
    fn what_is_sealed_opens() {
        for len in [0, 1, MAX_CHUNK - 1, MAX_CHUNK, MAX_CHUNK + 1, 100_000] {
            let (mut sealer, mut opener) = pair();
            let data: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut wire = Vec::new();
            sealer.seal(&data, &mut wire);
            assert_eq!(wire.len(), len + len.div_ceil(MAX_CHUNK) * (LENGTH_LEN + TAG_LEN));
            let whole = wire.len();
            assert_eq!(open_all(&mut opener, &mut wire), Ok((data, whole)));
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let mut wire = Vec::new();
        pair().0.seal(b"some payload", &mut wire);
        for bit in 0..wire.len() * 8 {
            let mut changed = wire.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_all(&mut pair().1, &mut changed), Err(Forged), "bit {bit}");
        }
    }

    #[test]
    fn parts_in_another_order_are_noticed() {
        let (mut sealer, mut opener) = pair();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        sealer.seal(b"one", &mut first);
        sealer.seal(b"two", &mut second);
        assert_eq!(open_all(&mut opener, &mut second), Err(Forged));
    }

    #[test]
    fn a_server_knows_its_own_salts_only() {
        let (key, other) = (Key::from_password("one"), Key::from_password("other"));
        let salt = Salt::of_server([9; DRAWN_LEN], &key);
        assert!(salt.is_of_server(&key) && !salt.is_of_server(&other));
        let prefix = SaltPrefix::new(b"GET /".to_vec()).unwrap();
        let client = Salt::of_client(*salt.as_bytes(), &prefix);
        assert!(client.as_bytes().starts_with(b"GET /\x09") && !client.is_of_server(&key));
        assert_eq!(SaltPrefix::new(vec![0; 17]), Err(PrefixTooLong(17)));
    }

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", Key::from_password("secret")), "[redacted Shadowsocks key]");
    }
}
