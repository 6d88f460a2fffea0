//! Inputs of the targets of `obfuscation`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use culvert_fuzz_targets::KEYWORD;
use culvert_obfuscation::{
    ClientPreamble, Direction, GeneratedPrefix, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan,
    PrefixName, PrefixPlan, ReplayMode, Seed, SeedHistory, SeedHistoryLimits, SeedIndexKey,
};

use crate::Input;

const MAGIC: u32 = 0x0BF5_CA7E;

pub(crate) fn inputs() -> Vec<Input> {
    [
        ("kex_packet", "whole", kex_packet(64, 6)),
        ("kex_packet", "no_room", kex_packet(300, 255)),
        ("kex_packet", "padding_too_long", vec![0, 0, 0, 2, 9, 20, 0]),
        ("transform", "hex", b"[0-9a-f]{4}\0[0-9]{4}\0deadbeef".to_vec()),
        ("seed_history", "two", seed_history()),
        ("preamble", "plain", preamble(None)),
        ("preamble", "prefixed", preamble(Some(b"GET / HTTP/1.1\r\nHost: example.org\r\n"))),
        ("preamble", "http", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec()),
        ("preamble_body", "least", body(0, b"")),
        ("preamble_body", "padded", body(64, b"SSH-2.0-OpenSSH_8.1\r\n")),
        ("preamble_body", "too_long", body(9000, b"")),
        ("preamble_body", "negative", body(u32::MAX, b"")),
        ("prefix_search", "at_once", terminated(b"", Direction::ClientToServer)),
        ("prefix_search", "after_text", terminated(&[b'x'; 100], Direction::ServerToClient)),
        ("prefix_search", "never", vec![b'x'; 300]),
    ]
    .into_iter()
    .map(|(target, name, bytes)| (target, name.to_owned(), bytes))
    .collect()
}

fn keyword() -> Keyword {
    Keyword::new(KEYWORD)
}

pub(crate) fn preamble(prefix: Option<&[u8]>) -> Vec<u8> {
    let prefix = prefix.map(|bytes| PrefixPlan {
        name: PrefixName::new(*b"HTTP").expect("the name is short"),
        prefix: GeneratedPrefix::new(bytes.to_vec(), bytes.len()).expect("the prefix is long enough"),
        split: Some(Duration::from_millis(1)),
    });
    let plan = PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes([3; 16]),
        padding_seed: Seed::from_bytes([4; 32]),
        padding: PaddingRange::new(Some(40), Some(50)),
        prefix,
    };
    let mut made = ClientPreamble::new(&keyword(), &plan);
    let mut identification = b"SSH-2.0-OpenSSH_8.1\r\n".to_vec();
    made.to_server.apply(&mut identification);
    [made.bytes, identification].concat()
}

/// Magic, an announced length, at most 64 bytes of padding, and what follows.
fn body(announced: u32, after: &[u8]) -> Vec<u8> {
    let padding = vec![0x55; announced.min(64) as usize];
    [MAGIC.to_be_bytes().as_slice(), &announced.to_be_bytes(), &padding, after].concat()
}

fn terminated(between: &[u8], direction: Direction) -> Vec<u8> {
    let prefix = GeneratedPrefix::new([[b'p'; 24].as_slice(), between].concat(), 24)
        .expect("the prefix is long enough");
    [prefix.terminated(&keyword(), direction), b"after it".to_vec()].concat()
}

/// A packet before NEWKEYS, with this much payload and padding.
fn kex_packet(payload: usize, padding: u8) -> Vec<u8> {
    let length = (1 + payload + usize::from(padding)) as u32;
    [length.to_be_bytes().as_slice(), &[padding], &vec![20; payload], &vec![0; usize::from(padding)]].concat()
}

/// Two seeds, at the time that the target takes for now.
fn seed_history() -> Vec<u8> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut history = SeedHistory::new(SeedHistoryLimits::default(), SeedIndexKey::new([0; 16]));
    for seed in [[1; 16], [2; 16]] {
        let peer = IpAddr::from([192, 0, 2, 1]);
        assert!(history.add(ReplayMode::Strict, &seed, peer, now).is_accepted(), "the seed is new");
    }
    history.snapshot(now)
}
