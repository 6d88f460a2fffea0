//! Known answers, round trips and tampering for every cipher with every MAC.
//!
//! Known answers were computed with pyca/cryptography (OpenSSL) and Python's hmac from RFC 4253, RFC 4344, RFC 5647 and
//! OpenSSH's PROTOCOL documents.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::*;
use crate::kex::DirectionKeys;
use crate::kexinit::Suite;
use crate::names::{CipherName, MacName};

/// Every suite.
fn suites() -> Vec<Suite> {
    let mut suites = Vec::new();
    for cipher in CipherName::ALL {
        if cipher.is_aead() {
            suites.push(Suite { cipher, mac: None });
        } else {
            suites.extend(MacName::ALL.map(|mac| Suite { cipher, mac: Some(mac) }));
        }
    }
    suites
}

/// Keys that count up, and counters about to wrap.
fn keys(suite: Suite) -> DirectionKeys {
    let up = |start: u8, length: usize| -> Zeroizing<Vec<u8>> {
        Zeroizing::new((start..=255).take(length).collect())
    };
    let mut iv = match suite.cipher.iv_len() {
        12 => vec![0xa0, 0xa1, 0xa2, 0xa3],
        _ => Vec::new(),
    };
    iv.resize(suite.cipher.iv_len(), 0xff);
    if let (16, Some(last)) = (iv.len(), iv.last_mut()) {
        *last = 0xfe;
    }
    DirectionKeys {
        suite,
        iv: Zeroizing::new(iv),
        key: up(0, suite.cipher.key_len()),
        mac: up(0x80, suite.mac.map_or(0, MacName::key_len)),
    }
}

fn frame(sealer: &Sealer, payload: &[u8], extra_padding: usize) -> Vec<u8> {
    let padding = sealer.padding_len(payload.len()) + u8::try_from(extra_padding).expect("padding");
    let mut packet = Sealer::header(payload.len(), padding).to_vec();
    packet.extend_from_slice(payload);
    packet.extend(vec![0x11; usize::from(padding)]);
    packet.extend(vec![0; sealer.tag_len()]);
    packet
}

fn sealed(sealer: &mut Sealer, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = frame(sealer, payload, 0);
    assert_eq!(packet.len(), sealer.packet_len(payload.len()));
    sealer.seal(sequence, &mut packet).expect("seal");
    packet
}

/// As a connection does: the head first, then the whole packet.
fn opened(opener: &mut Opener, sequence: u32, stream: &mut [u8]) -> Result<(Vec<u8>, usize), OpenError> {
    let head_len = opener.header_len();
    let length = opener.packet_length(sequence, stream.get_mut(..head_len).ok_or(OpenError::WrongSize)?)?;
    let total = opener.packet_len(length);
    let packet = stream.get_mut(..total).ok_or(OpenError::WrongSize)?;
    Ok((opener.open(sequence, packet)?.to_vec(), total))
}

/// Cipher, MAC, total bytes and SHA-256 of two packets with sequence numbers 7 and 8.
const KNOWN: [(&str, &str, usize, &str); 15] = [
    ("aes128-gcm@openssh.com", "", 120, "2d3ca78f8325bf9c36ba7ee3cde668a388bc3ad9b6ee45b295efcaeaa1a379a9"),
    ("aes256-gcm@openssh.com", "", 120, "f114c0c336e5fbcc711ca6cf5a755927df486754e159df24cc386ff8f3c25530"),
    (
        "chacha20-poly1305@openssh.com",
        "",
        112,
        "5c7180846835d5cf990c0b6d7921c2e0af538027cbc86a305e79e9bbaf697d69",
    ),
    ("aes128-ctr", "hmac-sha2-256", 160, "16fe29afff8722d0bebf09ae0d6f1c05a939a756493f3e15c82930076aa4ad15"),
    ("aes128-ctr", "hmac-sha2-512", 224, "57f49082c099cf3eddb6c6644c93588cd0dc002605919e3517fb156efb8cd1bb"),
    (
        "aes128-ctr",
        "hmac-sha2-256-etm@openssh.com",
        152,
        "82dff47313fc5686759c8eff56faffa90d7670708e5aa11ee62dbb2071432c64",
    ),
    (
        "aes128-ctr",
        "hmac-sha2-512-etm@openssh.com",
        216,
        "3b1bdfe558417e40165cf89d80e9cd6c946bb7a5f42de87b40873409eddfa0b8",
    ),
    ("aes192-ctr", "hmac-sha2-256", 160, "4282abc44ca87ea7d01c741996729ef82fe239ddfab1f1a9c9d67fcefd74a420"),
    ("aes192-ctr", "hmac-sha2-512", 224, "283f5c4960843ad618a3eafc8dcf3bf69098d31746688acec0aa371196dfb764"),
    (
        "aes192-ctr",
        "hmac-sha2-256-etm@openssh.com",
        152,
        "9f1a143cc15fed00ceaf1a245d4e4cee8428e9350e1e97342d6d95df5d6d29f6",
    ),
    (
        "aes192-ctr",
        "hmac-sha2-512-etm@openssh.com",
        216,
        "bf8c14e12b9233753dd74d195d8845847482424e3a4b841bbd14153d03dec8c4",
    ),
    ("aes256-ctr", "hmac-sha2-256", 160, "71fb5690ba13af49b7a8fe70a77557c006369ea2c489017b4e7b2d9f02a9afb7"),
    ("aes256-ctr", "hmac-sha2-512", 224, "af520badc89b5f961113af107c2e048d6baf867fc68ca018317ce32cb85dba2c"),
    (
        "aes256-ctr",
        "hmac-sha2-256-etm@openssh.com",
        152,
        "86b6a487851a099ed90f65fb07e5ce6778353553f1d6415f1ebae8dacd319850",
    ),
    (
        "aes256-ctr",
        "hmac-sha2-512-etm@openssh.com",
        216,
        "a847c6d4475bf74fc7d852927b87831fc53fb0c7d02dacda9493598f323e83a4",
    ),
];

#[test]
fn known_answers() {
    let payload: Vec<u8> = (0..40).collect();
    for (cipher, mac, length, expected) in KNOWN {
        let suite = Suite { cipher: CipherName::parse(cipher).expect("cipher"), mac: MacName::parse(mac) };
        let mut sealer = Sealer::new(&keys(suite)).expect("keys");
        let mut stream = sealed(&mut sealer, 7, b"hello culvert");
        stream.extend(sealed(&mut sealer, 8, &payload));
        assert_eq!(stream.len(), length, "{suite:?}");
        assert_eq!(HEXLOWER.encode(digest(&SHA256, &stream).as_ref()), expected, "{suite:?}");

        let mut opener = Opener::new(&keys(suite)).expect("keys");
        let (first, used) = opened(&mut opener, 7, &mut stream).expect("open");
        assert_eq!(first, b"hello culvert", "{suite:?}");
        let (second, rest) = opened(&mut opener, 8, &mut stream[used..]).expect("open");
        assert_eq!((second, used + rest), (payload.clone(), length), "{suite:?}");
    }
    assert_eq!(KNOWN.len(), suites().len());
}

#[test]
fn every_length_round_trips() {
    for suite in suites() {
        let mut sealer = Sealer::new(&keys(suite)).expect("keys");
        let mut opener = Opener::new(&keys(suite)).expect("keys");
        let lengths = (1..=70).chain([1000, 32 * 1024, 262_144 - 32]);
        for (sequence, length) in (0_u32..).map(|index| (u32::MAX - 20).wrapping_add(index)).zip(lengths) {
            let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
            let mut packet = sealed(&mut sealer, sequence, &payload);
            assert_ne!(packet.get(5..5 + length), Some(payload.as_slice()), "{suite:?}, {length}");
            let (got, used) = opened(&mut opener, sequence, &mut packet).expect("open");
            assert_eq!((got, used), (payload, packet.len()), "{suite:?}, {length}");
        }
    }
}

#[test]
fn padding_makes_whole_blocks() {
    let mut sealers: Vec<(Sealer, usize, usize)> = suites()
        .into_iter()
        .map(|suite| {
            let apart = suite.cipher.is_aead() || suite.mac.is_some_and(MacName::is_etm);
            let sealer = Sealer::new(&keys(suite)).expect("keys");
            (sealer, suite.cipher.block_size(), if apart { 4 } else { 0 })
        })
        .collect();
    sealers.push((Sealer::clear(), 8, 0));
    for (sealer, block, clear) in sealers {
        for length in 1..100 {
            let padding = usize::from(sealer.padding_len(length));
            assert!((4..4 + block).contains(&padding), "{sealer:?}, {length}: {padding}");
            assert_eq!((5 + length + padding - clear) % block, 0, "{sealer:?}, {length}");
        }
        assert!(usize::from(sealer.padding_len(usize::MAX)) < 20);
    }
}

#[test]
fn longer_padding_is_accepted() {
    for suite in suites() {
        let mut sealer = Sealer::new(&keys(suite)).expect("keys");
        let mut packet = frame(&sealer, b"payload", 224);
        sealer.seal(0, &mut packet).expect("seal");
        let mut opener = Opener::new(&keys(suite)).expect("keys");
        assert_eq!(
            opened(&mut opener, 0, &mut packet).map(|(got, _)| got),
            Ok(b"payload".to_vec()),
            "{suite:?}"
        );
    }
}

/// Every bit matters, the sequence number where it is covered, and a packet taken out of order or twice.
#[test]
fn tampering_is_noticed() {
    for suite in suites() {
        let mut sealer = Sealer::new(&keys(suite)).expect("keys");
        let packet = sealed(&mut sealer, 3, b"some payload");
        let next = sealed(&mut sealer, 4, b"other payload");
        let open = |packet: &[u8], sequence: u32| {
            // Bytes to spare, so that a longer length is not noticed by their lack.
            let mut stream = [packet, &[0; 300 * 1024]].concat();
            opened(&mut Opener::new(&keys(suite)).expect("keys"), sequence, &mut stream)
        };
        assert!(open(&packet, 3).is_ok(), "{suite:?}");
        for index in 0..packet.len() {
            for bit in [0x01, 0x80] {
                let mut changed = packet.clone();
                changed[index] ^= bit;
                let error = open(&changed, 3).expect_err("tampering");
                let in_head = index < 16 && !matches!(error, OpenError::BadPadding(_) | OpenError::WrongSize);
                assert!(error == OpenError::Forged || in_head, "{suite:?}, byte {index}: {error:?}");
            }
        }
        // GCM does not cover the sequence number, only its own counter.
        let covered = !matches!(suite.cipher, CipherName::Aes128Gcm | CipherName::Aes256Gcm);
        assert_eq!(open(&packet, 2).is_err(), covered, "{suite:?}");
        assert!(
            open(&next, 4).is_err() || suite.cipher == CipherName::ChaCha20Poly1305,
            "{suite:?}: skipped"
        );
        assert!(open(&next, 3).is_err(), "{suite:?}: reordered");
        let mut opener = Opener::new(&keys(suite)).expect("keys");
        let mut twice = [packet.clone(), packet].concat();
        let (_, used) = opened(&mut opener, 3, &mut twice).expect("first");
        assert!(opened(&mut opener, 4, &mut twice[used..]).is_err(), "{suite:?}: repeated");
    }
}

#[test]
fn clear_packets_are_lenient_in_length_only() {
    let open = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        opened(&mut Opener::clear(), 0, &mut packet).map(|(payload, _)| payload)
    };
    // Padding that makes no whole block, as obfuscated connections send it.
    assert_eq!(open(&[0, 0, 0, 7, 5, 42, 1, 2, 3, 4, 5]), Ok(vec![42]));
    assert_eq!(open(&[0, 0, 0, 5, 4, 1, 2, 3, 4]), Err(OpenError::BadPadding(4)), "no payload");
    assert_eq!(open(&[0, 0, 0, 6, 3, 1, 2, 3, 4, 5]), Err(OpenError::BadPadding(3)));
    assert_eq!(open(&[0, 0, 0, 6, 255, 1, 2, 3, 4, 5]), Err(OpenError::BadPadding(255)));
    assert_eq!(open(&[0, 0, 0, 1, 0]), Err(OpenError::BadPadding(0)));
    assert_eq!(open(&[0, 0, 0, 0]), Err(OpenError::BadLength(0)));
    assert_eq!(open(&[0, 4, 0, 1]), Err(OpenError::BadLength(262_145)));
    assert_eq!(open(&[255, 255, 255, 255]), Err(OpenError::BadLength(u32::MAX)));
    assert_eq!(Opener::clear().packet_length(0, &mut [0, 4, 0, 0]), Ok(262_144));
    assert_eq!(Opener::clear().packet_length(0, &mut [0, 0, 0]), Err(OpenError::WrongSize));
}

#[test]
fn counter_mode_needs_whole_blocks() {
    let suite = Suite { cipher: CipherName::Aes128Ctr, mac: Some(MacName::HmacSha256Etm) };
    let mut opener = Opener::new(&keys(suite)).expect("keys");
    assert_eq!(opener.packet_length(0, &mut [0, 0, 0, 17]), Err(OpenError::Unaligned(17)));
    assert_eq!(opener.packet_length(0, &mut [0, 0, 0, 32]), Ok(32));
}

#[test]
fn misuse_is_an_error() {
    for suite in suites() {
        let mut sealer = Sealer::new(&keys(suite)).expect("keys");
        for length in 0..sealer.tag_len() + HEADER_LEN {
            assert_eq!(sealer.seal(0, &mut vec![0; length]), Err(SealError), "{suite:?}, {length}");
        }
        let mut opener = Opener::new(&keys(suite)).expect("keys");
        for length in 0..opener.tag_len() + HEADER_LEN {
            assert!(opener.open(0, &mut vec![0; length]).is_err(), "{suite:?}, {length}");
        }
        let mut short = keys(suite);
        short.key.pop();
        assert_eq!(Sealer::new(&short).err(), Some(KeyError), "{suite:?}");
        assert_eq!(Opener::new(&short).err(), Some(KeyError), "{suite:?}");
        let mut other = keys(suite);
        other.suite.mac = if suite.mac.is_some() { None } else { Some(MacName::HmacSha256) };
        assert_eq!(Sealer::new(&other).err(), Some(KeyError), "{suite:?}");
        assert_eq!(Opener::new(&other).err(), Some(KeyError), "{suite:?}");
    }
}
