//! The cookie with which a client begins: what it wants, sealed for the server, hidden behind a preamble and written in base64. Source:
//! TRANSPORTS.md 2.4.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use culvert_obfuscation::{
    ClientPreamble, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, PreambleReader, Seed,
};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::go_json;
use data_encoding::BASE64;
use serde_json::Value;

use super::boxed::{BOX_OVERHEAD, BoxError, KEY_LEN, NonceLessBox};

/// What our clients call the version of the protocol: payload padding, and all before it.
pub const VERSION: u32 = 4;
/// Clients with this version, and later ones, get their session's name by `Set-Cookie`.
const SESSION_ID_VERSION: u32 = 2;
/// The most padding that a client draws for the preamble.
pub const MAX_COOKIE_PADDING: usize = 256;
/// The longest value that is looked at, in characters. Clients' are a third of it.
pub const MAX_COOKIE: usize = 2048;
/// Seed, magic and padding length of a preamble.
const PREAMBLE: usize = ObfuscatorSeed::LEN + 8;
/// `{"v":4}` is shorter than nothing that a client sends.
const LEAST: usize = PREAMBLE + BOX_OVERHEAD + 2;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieRequest {
    /// Its version of the protocol; see [`VERSION`].
    pub version: u32,
    /// Whether bodies begin with a padding header in both directions.
    pub payload_padding: bool,
    /// The protocol it believes to use: behind a CDN the server cannot know. Old clients do not say.
    pub protocol: Option<TunnelProtocol>,
    /// The name of an API endpoint, if no session is wanted.
    pub endpoint: Option<String>,
}

impl CookieRequest {
    /// Of a client that wants a tunnel over this protocol.
    #[must_use]
    pub fn tunnel(protocol: TunnelProtocol, payload_padding: bool) -> Self {
        Self { version: VERSION, payload_padding, protocol: Some(protocol), endpoint: None }
    }

    /// Whether the client waits for a `Set-Cookie`.
    #[must_use]
    pub fn wants_session_id(&self) -> bool {
        self.version >= SESSION_ID_VERSION
    }

    /// The JSON text, with its members in the only order that is in use.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = format!("{{\"v\":{}", self.version);
        if self.payload_padding {
            text.push_str(",\"p\":true");
        }
        if let Some(protocol) = self.protocol {
            text.push_str(",\"t\":\"");
            text.push_str(protocol.name());
            text.push('"');
        }
        if let Some(endpoint) = self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) {
            text.push_str(",\"e\":");
            text.push_str(&Value::from(endpoint).to_string());
        }
        text.push('}');
        text
    }

    fn from_json(text: &[u8]) -> Option<Self> {
        let object = go_json::parse_object(text).ok()?;
        let name = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Some(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => None,
        };
        let version = match object.get("v") {
            None | Some(Value::Null) => 0,
            Some(value) => u32::try_from(value.as_u64()?).ok()?,
        };
        let payload_padding = match object.get("p") {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool()?,
        };
        let protocol = name("t")?.map(str::parse).transpose().ok()?;
        Some(Self { version, payload_padding, protocol, endpoint: name("e")?.map(str::to_owned) })
    }
}

/// Everything that fixes a cookie but what it says.
#[derive(Clone, Debug)]
pub struct CookiePlan {
    /// Fresh for every session: from another address a repeated one is refused.
    pub obfuscator_seed: ObfuscatorSeed,
    /// What the padding is drawn from, and by derivation the names; see [`super::names`].
    pub padding_seed: Seed,
}

/// A client's half.
pub struct CookieSealer {
    keyword: Keyword,
    server: [u8; KEY_LEN],
}

impl CookieSealer {
    /// With `MeekObfuscatedKey` as text, and the server's public key.
    #[must_use]
    pub fn new(obfuscated_key: &str, server: [u8; KEY_LEN]) -> Self {
        Self { keyword: Keyword::new(obfuscated_key), server }
    }

    /// The cookie's value. The ephemeral private key must be fresh.
    ///
    /// # Errors
    /// Local: the server's key or the ephemeral one is no key.
    pub fn seal(
        &self,
        plan: &CookiePlan,
        ephemeral: &[u8; KEY_LEN],
        request: &CookieRequest,
    ) -> Result<String, BoxError> {
        let private = PrivateKey::from_private_key(&X25519, ephemeral).map_err(|_| BoxError::Key)?;
        let public = private.compute_public_key().map_err(|_| BoxError::Key)?;
        let mut sealed = public.as_ref().to_vec();
        let sealing = NonceLessBox::between(&private, &self.server).map_err(|_| BoxError::Key)?;
        sealing.seal(request.to_json().as_bytes(), &mut sealed);
        let preamble = PreamblePlan {
            obfuscator_seed: plan.obfuscator_seed,
            padding_seed: plan.padding_seed.clone(),
            padding: PaddingRange::new(None, Some(MAX_COOKIE_PADDING)),
            prefix: None,
        };
        let mut preamble = ClientPreamble::new(&self.keyword, &preamble);
        preamble.to_server.apply(&mut sealed);
        preamble.bytes.append(&mut sealed);
        Ok(BASE64.encode(&preamble.bytes))
    }
}

impl fmt::Debug for CookieSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSealer([redacted])")
    }
}

/// A value that may be a cookie: as much as can be told without cost. The check itself costs a derivation of thousands of hashes, which
/// the caller may put off or decline.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCookie(Vec<u8>);

impl SealedCookie {
    /// `None`: it is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let plausible = value.len() <= MAX_COOKIE;
        let bytes = plausible.then(|| BASE64.decode(value).ok()).flatten()?;
        (bytes.len() >= LEAST).then_some(Self(bytes))
    }

    /// The seed that it would have.
    #[must_use]
    pub fn claimed_seed(&self) -> ObfuscatorSeed {
        // Never the other: `parse` has seen that it is longer.
        ObfuscatorSeed::from_bytes(self.0.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for SealedCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedCookie([redacted])")
    }
}

/// Why a value is no cookie, or none of use. Always the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// The peer does not have the obfuscated key.
    #[error("the meek cookie has no valid preamble: the peer does not know the key")]
    Preamble,
    /// It has that one, and not the server's public key.
    #[error("the meek cookie's box cannot be opened: the peer has another public key")]
    Box,
    /// It has both and sends nonsense, or something of a later version.
    #[error("the meek cookie says something that this program does not understand")]
    Request,
}

/// A cookie that a client with all keys has made, or that somebody repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// For the history of seeds.
    pub seed: ObfuscatorSeed,
    /// What it says.
    pub request: CookieRequest,
}

/// A server's half.
pub struct CookieOpener {
    keyword: Keyword,
    private: PrivateKey,
}

impl CookieOpener {
    /// With `MeekObfuscatedKey` as text, and the private key.
    ///
    /// # Errors
    /// Local: the private key is no key.
    pub fn new(obfuscated_key: &str, private: &[u8; KEY_LEN]) -> Result<Self, BoxError> {
        let private = PrivateKey::from_private_key(&X25519, private).map_err(|_| BoxError::Key)?;
        Ok(Self { keyword: Keyword::new(obfuscated_key), private })
    }

    /// Opens a cookie; costs a derivation.
    ///
    /// # Errors
    /// See [`CookieError`].
    pub fn open(&self, cookie: &SealedCookie) -> Result<Opened, CookieError> {
        let mut reader = PreambleReader::without_prefix(self.keyword.clone());
        let (used, preamble) = reader.push(&cookie.0).map_err(|_| CookieError::Preamble)?;
        let mut preamble = preamble.ok_or(CookieError::Preamble)?;
        let mut sealed = cookie.0.get(used..).unwrap_or_default().to_vec();
        preamble.from_client.apply(&mut sealed);
        let (ephemeral, sealed) = sealed.split_first_chunk::<KEY_LEN>().ok_or(CookieError::Box)?;
        let opening = NonceLessBox::between(&self.private, ephemeral).map_err(|_| CookieError::Box)?;
        let text = opening.open(sealed).map_err(|_| CookieError::Box)?;
        let request = CookieRequest::from_json(&text).ok_or(CookieError::Request)?;
        Ok(Opened { seed: preamble.seed, request })
    }
}

impl fmt::Debug for CookieOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieOpener([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: [u8; KEY_LEN] = [7; KEY_LEN];

    fn public() -> [u8; KEY_LEN] {
        let private = PrivateKey::from_private_key(&X25519, &PRIVATE).unwrap();
        private.compute_public_key().unwrap().as_ref().try_into().unwrap()
    }

    fn value(key: &str, server: [u8; KEY_LEN], request: &CookieRequest) -> String {
        let plan = CookiePlan {
            obfuscator_seed: ObfuscatorSeed::from_bytes([3; 16]),
            padding_seed: Seed::from_bytes([4; 32]),
        };
        CookieSealer::new(key, server).seal(&plan, &[5; KEY_LEN], request).unwrap()
    }

    fn open(value: &str) -> Result<CookieRequest, CookieError> {
        let sealed = SealedCookie::parse(value.as_bytes()).ok_or(CookieError::Preamble)?;
        CookieOpener::new("key", &PRIVATE).unwrap().open(&sealed).map(|opened| opened.request)
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let tunnel = CookieRequest::tunnel(TunnelProtocol::OSSH, true);
        let endpoint = CookieRequest {
            version: 0,
            payload_padding: false,
            protocol: None,
            endpoint: Some("a \"name\"".to_owned()),
        };
        for request in [tunnel, endpoint] {
            assert_eq!(open(&value("key", public(), &request)), Ok(request));
        }
    }

    #[test]
    fn others_are_refused() {
        let request = CookieRequest::tunnel(TunnelProtocol::OSSH, false);
        assert_eq!(open(&value("other", public(), &request)), Err(CookieError::Preamble));
        assert_eq!(open(&value("key", [9; KEY_LEN], &request)), Err(CookieError::Box));
        let good = value("key", public(), &request);
        let mut bytes = BASE64.decode(good.as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(open(&BASE64.encode(&bytes)), Err(CookieError::Box));
        for value in ["", "AAAA", "not base64 at all", &"A".repeat(MAX_COOKIE + 4)] {
            assert_eq!(SealedCookie::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(CookieRequest::from_json(b"{\"v\":-1}"), None);
        assert_eq!(CookieRequest::from_json(b"{\"v\":4,\"t\":\"XSSH\"}"), None);
        assert_eq!(CookieRequest::from_json(b"[]"), None);
    }
}
