//! Known answers and refusals of every method.
//!
//! Known answers were computed with Python's integers and hashlib, and with OpenSSL (through pyca/cryptography) for
//! the NIST curves. The X25519 keys are those of RFC 7748 section 6.1.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::*;
use crate::kexinit::{Direction, Suite};
use crate::names::{CipherName, MacName};

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hex")
}

fn alice() -> FixedKeys {
    FixedKeys::Exactly(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
}

fn bob() -> FixedKeys {
    FixedKeys::Exactly(hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
}

const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
const SHARED: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

/// Ephemeral keys that are given; ML-KEM is replaced by constants.
enum FixedKeys {
    /// These bytes.
    Exactly(Vec<u8>),
    /// Bytes that count up from this one.
    From(u8),
}

impl EphemeralKeys for FixedKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        match self {
            Self::Exactly(bytes) => secret.copy_from_slice(bytes),
            Self::From(start) => {
                let values = (0..=255_u8).cycle().skip(usize::from(*start));
                secret.iter_mut().zip(values).for_each(|(byte, value)| *byte = value);
            }
        }
        Ok(())
    }

    fn mlkem768_encapsulate(&mut self, public: &[u8]) -> Result<Encapsulated, KexError> {
        assert_eq!(public, [0x11; 1184]);
        Ok(Encapsulated { ciphertext: vec![0x22; 1088], secret: Zeroizing::new(vec![0x33; 32]) })
    }
}

fn hash_of(kex: KexName, client: &[u8], server: &[u8], secret: &SharedSecret) -> ExchangeHash {
    let inputs = ExchangeInputs {
        client_ident: b"SSH-2.0-OpenSSH_8.1",
        server_ident: b"SSH-2.0-OpenSSH_7.4",
        client_kexinit: b"client kexinit",
        server_kexinit: b"server kexinit",
        host_key_blob: b"host key blob",
        client_public: client,
        server_public: server,
    };
    exchange_hash(kex, &inputs, secret)
}

fn x25519_session() -> ExchangeHash {
    let client = ClientExchange::start(KexName::Curve25519Sha256, &mut alice()).expect("start");
    let secret = client.finish(&hex(BOB_PUBLIC)).expect("finish");
    hash_of(KexName::Curve25519Sha256, &hex(ALICE_PUBLIC), &hex(BOB_PUBLIC), &secret)
}

/// SHA-256 over the keys that an exchange gives, in a re-key of the X25519 connection.
fn keys_digest(secret: &SharedSecret, hash: &ExchangeHash) -> String {
    let session_id = x25519_session();
    let source = KeySource { secret, hash, session_id: &session_id };
    let up = Suite { cipher: CipherName::Aes256Ctr, mac: Some(MacName::HmacSha512Etm) };
    let down = Suite { cipher: CipherName::ChaCha20Poly1305, mac: None };
    let up = derive_keys(&source, Direction::ClientToServer, up);
    let down = derive_keys(&source, Direction::ServerToClient, down);
    let all = [&up.iv, &up.key, &up.mac, &down.iv, &down.key, &down.mac].map(|part| part.as_slice());
    HEXLOWER.encode(digest(&SHA256, &all.concat()).as_ref())
}

/// Method, exchange hash, digest of keys.
const KNOWN: [(KexName, &str, &str); 7] = [
    (
        KexName::Curve25519Sha256,
        "30190a9079b3b57716ca85fe80e5a6d7bc16407b57767f36718c120ef026b97a",
        "234f1bab9a4564fdde6831081309c9fcae363ffe789a493547919c3191cbc167",
    ),
    (
        KexName::EcdhNistp256,
        "d04557ff4e9bf1efff6ec4b5225af404b4742004ceb8f5916cb458bdc90a62ed",
        "c8fd0f04f123bb470b4c74667ef8cc351814ff1239a0729584f8940cf69896fc",
    ),
    (
        KexName::EcdhNistp384,
        "a42d4cbc40a857cc9f801bc3cee65771a40220450849a4fb8482f4d69a9b907ab6d138764c634753ed45b55d81ce7fb7",
        "35704b7c0236fd9465dbfab431ceac3998c486626761318cbb85da02985910ee",
    ),
    (
        KexName::EcdhNistp521,
        concat!(
            "fb3aa54854ffa64dcad9294e0c6ca298e227a60169b33c67ba8323a41edd9d5f",
            "f4b1d9fb6b13ddabba7d446cc9e2606e48294ae37b78dc13a6d2c02125946735"
        ),
        "1c3e1ac6137104b59ef9084b7d53be378166f4b3c234b9d7278d51c0814fc614",
    ),
    (
        KexName::DhGroup14Sha256,
        "4be5aabbee91a9643903e36e3a1665da8a81a75969e49b3142f486581ec6eb33",
        "2dab895538d010da4dc270fb1c4d57cb5b89b67e0a8a11c31a0d0e5a31feab95",
    ),
    (
        KexName::DhGroup16Sha512,
        concat!(
            "9709d046700f9b6882a95e8497754e66a50fb0aa1c8f042a1d0b736f4e296d4e",
            "72fe2c3e414fe90048299f581bec8e6c47b8a886cd441b268901008ba18fd480"
        ),
        "a61d7a4fc6cf9dea14fa71b7d38001be49ca642cc04967a5a280813362636fce",
    ),
    (
        KexName::MlKem768X25519Sha256,
        "9077b5d7d59a4efe516e9c54ee7f44f2c5d2f33ec614e13951e4cf2e722b0d2e",
        "3e41dcbc00502e6d0f26ef35925948b5d24018544fd31e14f3308a8bca49804d",
    ),
];

#[test]
fn known_answers_of_both_ends() {
    for (kex, expected_hash, expected_keys) in KNOWN {
        let (mut ours, mut theirs) = match kex {
            KexName::Curve25519Sha256 | KexName::MlKem768X25519Sha256 => (alice(), bob()),
            _ => (FixedKeys::From(1), FixedKeys::From(101)),
        };
        let client = match kex {
            // ML-KEM is fixed on the server's end only.
            KexName::MlKem768X25519Sha256 => None,
            _ => Some(ClientExchange::start(kex, &mut ours).expect("start")),
        };
        let client_public = client.as_ref().map_or_else(
            || [vec![0x11; 1184], hex(ALICE_PUBLIC)].concat(),
            |client| client.public().to_vec(),
        );
        let (server_public, secret) = respond(kex, &client_public, &mut theirs).expect("respond");
        let hash = hash_of(kex, &client_public, &server_public, &secret);
        assert_eq!(HEXLOWER.encode(hash.as_bytes()), expected_hash, "{kex:?}");
        assert_eq!(keys_digest(&secret, &hash), expected_keys, "{kex:?}");
        if let Some(client) = client {
            let secret = client.finish(&server_public).expect("finish");
            let hash = hash_of(kex, &client_public, &server_public, &secret);
            assert_eq!(HEXLOWER.encode(hash.as_bytes()), expected_hash, "{kex:?}, client");
        }
    }
}

/// RFC 7748 section 6.1; RFC 8731 section 3.1 encodes the result as a number.
#[test]
fn x25519_public_values_and_secret() {
    let client = ClientExchange::start(KexName::Curve25519Sha256, &mut alice()).expect("start");
    assert_eq!(client.public(), hex(ALICE_PUBLIC));
    let (server_public, secret) =
        respond(KexName::Curve25519Sha256, client.public(), &mut bob()).expect("respond");
    assert_eq!(server_public, hex(BOB_PUBLIC));
    let hash = hash_of(KexName::Curve25519Sha256, client.public(), &server_public, &secret);
    let number = SharedSecret::mpint(&hex(SHARED));
    assert_eq!(hash, hash_of(KexName::Curve25519Sha256, client.public(), &server_public, &number));
}

/// Fresh keys through the messages, every method; the second run gives other keys.
#[test]
fn round_trip_through_messages() {
    for kex in KexName::ALL {
        let mut hashes = Vec::new();
        for _ in 0..2 {
            let client = ClientExchange::start(kex, &mut FreshKeys).expect("start");
            let init = client.init_message();
            assert_eq!(init.first(), Some(&INIT_MESSAGE));
            let client_public = parse_init(kex, &init).expect("init").to_vec();
            assert_eq!(client_public, client.public());
            let (server_public, server_secret) =
                respond(kex, &client_public, &mut FreshKeys).expect("respond");
            let reply =
                Reply { host_key_blob: b"blob", server_public: &server_public, signature: b"signature" };
            let payload = reply.encode(kex);
            assert_eq!(Reply::parse(kex, &payload), Ok(reply));
            for cut in 0..payload.len() {
                assert!(Reply::parse(kex, &payload[..cut]).is_err(), "{kex:?}, cut at {cut}");
            }
            let client_secret = client.finish(&server_public).expect("finish");
            let hash = hash_of(kex, &client_public, &server_public, &client_secret);
            assert_eq!(hash, hash_of(kex, &client_public, &server_public, &server_secret), "{kex:?}");
            assert_eq!(hash.as_bytes().len(), kex.hash().output_len());
            hashes.push(hash);
        }
        assert_ne!(hashes[0], hashes[1], "{kex:?}");
    }
}

fn refused_by_both(kex: KexName, public: &[u8], what: &str) {
    let client = ClientExchange::start(kex, &mut FreshKeys).expect("start");
    assert_eq!(client.finish(public).err(), Some(KexError::BadPublicValue), "client, {kex:?}, {what}");
    let server = respond(kex, public, &mut FreshKeys).err();
    assert_eq!(server, Some(KexError::BadPublicValue), "server, {kex:?}, {what}");
}

#[test]
fn bad_x25519_values() {
    // Points of small order (RFC 7748 section 6.1): the result is all zero.
    let order8 = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    let mut one = vec![0; 32];
    one[0] = 1;
    for (what, public) in [
        ("zero", vec![0; 32]),
        ("one", one),
        ("order 8", order8),
        ("empty", vec![]),
        ("short", vec![9; 31]),
        ("long", vec![9; 33]),
    ] {
        refused_by_both(KexName::Curve25519Sha256, &public, what);
    }
}

#[test]
fn bad_points() {
    for kex in [KexName::EcdhNistp256, KexName::EcdhNistp384, KexName::EcdhNistp521] {
        let good = ClientExchange::start(kex, &mut FreshKeys).expect("start").public().to_vec();
        let field = good.len() / 2;
        let mut off_curve = good.clone();
        off_curve[field] ^= 1;
        let mut compressed = good[..=field].to_vec();
        compressed[0] = 2 + (good[good.len() - 1] & 1);
        let mut too_long = good.clone();
        too_long.push(0);
        let mut too_great = vec![0xff; good.len()];
        too_great[0] = 4;
        let mut zero = vec![0; good.len()];
        zero[0] = 4;
        for (what, public) in [
            ("off the curve", off_curve),
            ("compressed", compressed),
            ("infinity", vec![0]),
            ("empty", vec![]),
            ("too long", too_long),
            ("coordinates above the field", too_great),
            ("zero coordinates", zero),
        ] {
            refused_by_both(kex, &public, what);
        }
    }
}

#[test]
fn bad_modp_values() {
    for (kex, prime) in [
        (KexName::DhGroup14Sha256, Group::G14.prime_bytes()),
        (KexName::DhGroup16Sha512, Group::G16.prime_bytes()),
    ] {
        let mut less_one = prime.clone();
        let last = less_one.len() - 1;
        less_one[last] -= 1;
        let mut more = vec![1];
        more.extend_from_slice(&prime);
        for (what, public) in [
            ("zero", vec![]),
            ("zero with bytes", vec![0; prime.len()]),
            ("one", vec![1]),
            ("p - 1", less_one.clone()),
            ("p", prime.clone()),
            ("longer than p", more),
        ] {
            refused_by_both(kex, &public, what);
        }
        let mut less_two = less_one;
        less_two[last] -= 1;
        assert!(respond(kex, &less_two, &mut FreshKeys).is_ok(), "p - 2");
        assert!(respond(kex, &[2], &mut FreshKeys).is_ok(), "2");
    }
}

#[test]
fn bad_hybrid_values() {
    let kex = KexName::MlKem768X25519Sha256;
    let client = ClientExchange::start(kex, &mut FreshKeys).expect("start").public().to_vec();
    let (server, _) = respond(kex, &client, &mut FreshKeys).expect("respond");
    let finish =
        |public: &[u8]| ClientExchange::start(kex, &mut FreshKeys).expect("start").finish(public).err();
    let answer = |public: &[u8]| respond(kex, public, &mut FreshKeys).err();
    for length in [0, 32, client.len() - 1] {
        assert_eq!(answer(&client[..length]), Some(KexError::BadPublicValue), "{length}");
    }
    for length in [0, 32, server.len() - 1] {
        assert_eq!(finish(&server[..length]), Some(KexError::BadPublicValue), "{length}");
    }
    assert_eq!(answer(&[client.as_slice(), &[0]].concat()), Some(KexError::BadPublicValue));
    assert_eq!(finish(&[server.as_slice(), &[0]].concat()), Some(KexError::BadPublicValue));

    // FIPS 203 section 7.2: coefficients not reduced modulo q.
    let mut unreduced = client.clone();
    unreduced[..384].fill(0xff);
    assert_eq!(answer(&unreduced), Some(KexError::BadPublicValue));
    // A zero X25519 part.
    let mut zero = client.clone();
    zero[1184..].fill(0);
    assert_eq!(answer(&zero), Some(KexError::BadPublicValue));
    let mut zero = server;
    zero[1088..].fill(0);
    assert_eq!(finish(&zero), Some(KexError::BadPublicValue));
}

/// A key restored from its bytes stands in for a generated one.
#[test]
fn mlkem_keys_from_bytes() {
    let made = FreshKeys.mlkem768().expect("key");
    let private = made.key.key_bytes().expect("bytes");
    let restored = MlKemKey::from_private_bytes(private.as_ref()).expect("restored");
    assert_eq!(restored.public, made.public);
    let encapsulated = FreshKeys.mlkem768_encapsulate(&restored.public).expect("encapsulation");
    let ciphertext = encapsulated.ciphertext.as_slice();
    let secret = restored.key.decapsulate(ciphertext.into()).expect("decapsulation");
    assert_eq!(secret.as_ref(), encapsulated.secret.as_slice());
}

#[test]
fn other_messages_are_refused() {
    let kex = KexName::Curve25519Sha256;
    let wrong = KexError::WrongMessage { expected: 30, got: 31 };
    assert_eq!(parse_init(kex, &[31, 0, 0, 0, 0]), Err(wrong));
    let wrong = KexError::WrongMessage { expected: 31, got: 30 };
    assert_eq!(Reply::parse(kex, &[30, 0, 0, 0, 0]), Err(wrong));
    assert_eq!(parse_init(kex, &[]), Err(KexError::Wire(WireError::Truncated)));
    assert_eq!(parse_init(kex, &[30, 0, 0, 0, 0, 9]), Err(KexError::Wire(WireError::TrailingBytes)));
    let negative = parse_init(KexName::DhGroup14Sha256, &[30, 0, 0, 0, 1, 0x80]);
    assert_eq!(negative, Err(KexError::Wire(WireError::NegativeInteger)));
}

/// Keys that can never be valid do not loop for ever.
#[test]
fn exhausted_key_source_is_an_error() {
    let zero = ClientExchange::start(KexName::EcdhNistp256, &mut FixedKeys::Exactly(vec![0; 32]));
    assert_eq!(zero.err(), Some(KexError::Local));
    let high = ClientExchange::start(KexName::EcdhNistp256, &mut FixedKeys::Exactly(vec![0xff; 32]));
    assert_eq!(high.err(), Some(KexError::Local));
}
