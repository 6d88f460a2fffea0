//! Profiles of no browser: a ClientHello of random shape, a function of its seed, for where browsers' own are blocked. Everything in it is
//! understood by servers; what must be there is always there. Source: TRANSPORTS.md 1.4.

use culvert_obfuscation::{Prng, Seed};

use crate::hello::{Extension, Profile, Value, number};
use crate::profiles::DRAWN;

const TLS13_SUITES: [u16; 3] = [0x1301, 0x1302, 0x1303];
const CHACHA20: u16 = 0x1303;
/// What the library can finish a handshake with.
const TLS12_SUITES: [u16; 6] = [0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9];
/// What is only listed, by some.
const OLDER_SUITES: [u16; 10] =
    [0xc009, 0xc00a, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035, 0xc023, 0xc027];
const SIGNATURES: [u16; 6] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501];
const MORE_SIGNATURES: [u16; 5] = [0x0806, 0x0601, 0x0603, 0x0201, 0x0203];
const HYBRID: u16 = 0x11ec;
const X25519: u16 = 0x001d;
const P256: u16 = 0x0017;
const P384: u16 = 0x0018;
const P521: u16 = 0x0019;

/// The profile that a seed stands for.
#[must_use]
pub fn drawn(seed: &Seed, only_tls13: bool) -> Profile {
    let mut prng = Prng::new(seed);
    let tls13 = prng.flip_coin() || only_tls13;
    let mut suites = Vec::new();
    if tls13 {
        suites.extend(shuffled(&TLS13_SUITES, &mut prng));
        // A server takes it for the wish of a processor without AES.
        if suites.first() == Some(&CHACHA20) {
            suites.rotate_left(1);
        }
    }
    suites.extend(shuffled(&TLS12_SUITES, &mut prng));
    suites.extend(some(&OLDER_SUITES, &mut prng));
    let mut signatures = shuffled(&SIGNATURES, &mut prng);
    signatures.extend(some(&MORE_SIGNATURES, &mut prng));
    let hybrid = tls13 && prng.flip_coin();
    let mut groups: Vec<u16> = hybrid.then_some(HYBRID).into_iter().chain([X25519, P256, P384]).collect();
    groups.extend(prng.flip_coin().then_some(P521));
    let mut extensions = vec![
        Extension::ServerName,
        Extension::Raw(number::EXTENDED_MASTER_SECRET, Vec::new()),
        Extension::Raw(0xff01, vec![0]),
        Extension::Groups(groups.iter().copied().map(Value::Number).collect()),
        Extension::Raw(0x000b, vec![1, 0]),
        Extension::Signatures(signatures.into_iter().map(Value::Number).collect()),
        Extension::Ticket,
    ];
    if prng.flip_weighted_coin(0.7) {
        extensions.push(Extension::Alpn(vec!["h2".to_owned(), "http/1.1".to_owned()]));
    }
    if prng.flip_weighted_coin(0.7) {
        extensions.push(Extension::Raw(0x0005, vec![1, 0, 0, 0, 0]));
    }
    if prng.flip_coin() {
        extensions.push(Extension::Raw(0x0012, Vec::new()));
    }
    if tls13 {
        let also_p256 = prng.flip_weighted_coin(0.25).then_some(P256);
        let shares = hybrid.then_some(HYBRID).into_iter().chain([X25519]).chain(also_p256);
        extensions.push(Extension::KeyShares(shares.map(Value::Number).collect()));
        extensions.push(Extension::Raw(0x002d, vec![1, 1]));
        extensions.push(Extension::Versions(vec![Value::Number(0x0304), Value::Number(0x0303)]));
    }
    prng.shuffle(&mut extensions);
    if prng.flip_coin() {
        extensions.push(Extension::Padding);
    }
    Profile::made(DRAWN, suites.into_iter().map(Value::Number).collect(), extensions)
}

fn shuffled(from: &[u16], prng: &mut Prng) -> Vec<u16> {
    let mut all = from.to_vec();
    prng.shuffle(&mut all);
    all
}

/// Any number of them, in any order.
fn some(from: &[u16], prng: &mut Prng) -> Vec<u16> {
    let mut all = shuffled(from, prng);
    let most = i64::try_from(all.len()).unwrap_or(i64::MAX);
    all.truncate(usize::try_from(prng.range(0, most)).unwrap_or_default());
    all
}
