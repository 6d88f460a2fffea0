//! Lengths that do not fit: of packets and of their padding, with every form of protection.

use culvert_ssh::cipher::{OpenError, Sealer};
use culvert_ssh::kexinit::{KexInit, Role};
use culvert_ssh::names::wire_name;
use culvert_ssh::{Error, Misbehaviour};

use crate::peer::{Raw, names, offer};
use crate::{ROLES, bounded};

const MOST: u32 = 256 * 1024;
const MOST_IN_CLEAR: u32 = 64 * 1024;
const SUITES: [(&str, &str); 5] = [
    (wire_name::AES128_GCM, wire_name::HMAC_SHA256),
    (wire_name::AES256_GCM, wire_name::HMAC_SHA256),
    (wire_name::CHACHA20_POLY1305, wire_name::HMAC_SHA256),
    (wire_name::AES256_CTR, wire_name::HMAC_SHA512),
    (wire_name::AES128_CTR, wire_name::HMAC_SHA256_ETM),
];

fn offer_of(tested: Role, (cipher, mac): (&'static str, &'static str)) -> KexInit {
    let mut offer = offer(tested);
    let lists = &mut offer.lists;
    (lists.cipher_c2s, lists.cipher_s2c) = (names(cipher), names(cipher));
    (lists.mac_c2s, lists.mac_s2c) = (names(mac), names(mac));
    offer
}

fn keyed_with(tested: Role, suite: (&'static str, &'static str)) -> Raw {
    let mut raw = Raw::greeted(tested, offer_of(tested, suite));
    raw.exchange().expect("the exchange is by the book");
    raw
}

/// CVE-2024-43410, CVE-2026-48110: a length sizes nothing before it is judged.
#[test]
fn lengths_in_clear_are_judged_before_anything_is_kept() {
    for role in ROLES {
        for length in [u32::MAX, 1 << 31, MOST + 1, MOST_IN_CLEAR + 1, 1, 0] {
            bounded(|| {
                let mut raw = Raw::greeted(role, offer(role));
                let result = raw.feed(&length.to_be_bytes());
                assert!(
                    matches!(result, Err(Error::Peer(Misbehaviour::PacketLength))),
                    "{role:?}, {length}: {result:?}"
                );
            });
        }
        for suite in [SUITES[0], SUITES[1], SUITES[4]] {
            for length in [u32::MAX, MOST + 1, MOST + 16, 1, 0] {
                bounded(|| {
                    let result = keyed_with(role, suite).feed(&length.to_be_bytes());
                    let named = matches!(
                        result,
                        Err(Error::Peer(Misbehaviour::PacketLength)
                            | Error::Packet(OpenError::BadLength(_) | OpenError::Unaligned(_)))
                    );
                    assert!(named, "{role:?}, {suite:?}, {length}: {result:?}");
                });
            }
        }
    }
}

#[test]
fn lengths_under_encryption_are_judged_before_anything_is_kept() {
    for role in ROLES {
        // The block of counter mode wants four bytes less than a multiple.
        for (suite, length) in
            [(SUITES[2], MOST + 1), (SUITES[2], MOST + 8), (SUITES[3], MOST + 12), (SUITES[3], MOST + 1020)]
        {
            let mut raw = keyed_with(role, suite);
            let tag = raw.sealer.tag_len();
            let mut packet = vec![0; 4 + length as usize + tag];
            packet[..4].copy_from_slice(&length.to_be_bytes());
            let packet = raw.seal(packet);
            let result = bounded(|| raw.feed(&packet[..64]));
            assert!(
                matches!(result, Err(Error::Packet(OpenError::BadLength(got))) if got == length),
                "{role:?}, {suite:?}, {length}: {result:?}"
            );
        }
        for noise in 0..64_u8 {
            for suite in [SUITES[2], SUITES[3]] {
                let result = bounded(|| keyed_with(role, suite).feed(&[noise; 64]));
                assert!(
                    matches!(result, Err(Error::Packet(_)) | Ok(())),
                    "{role:?}, {suite:?}, {noise}: {result:?}"
                );
            }
        }
    }
}

/// CVE-2021-43565, GO-2026-5013: packets with nothing in them, or less.
#[test]
fn padding_leaves_a_payload_and_has_its_least() {
    for role in ROLES {
        for suite in SUITES {
            // 28 bytes behind the length: with encryption of the length a whole number of blocks, too.
            for (length, padding) in [(28, 200), (28, 255), (28, 28), (28, 27), (28, 3), (28, 0)] {
                let length = if suite.1 == wire_name::HMAC_SHA256_ETM { 32 } else { length };
                let mut raw = keyed_with(role, suite);
                let tag = raw.sealer.tag_len();
                let mut packet = vec![2; 4 + length + tag];
                packet[..4].copy_from_slice(&(length as u32).to_be_bytes());
                packet[4] = padding;
                let packet = raw.seal(packet);
                let result = bounded(|| raw.feed(&packet));
                let allowed = length == 32 && matches!(padding, 27 | 28);
                assert!(
                    matches!(result, Err(Error::Packet(OpenError::BadPadding(got))) if got == padding)
                        || (allowed && result.is_ok()),
                    "{role:?}, {suite:?}, {padding}: {result:?}"
                );
            }
        }
        for (length, padding) in [(12_u32, 12_u8), (12, 200), (2, 1), (2, 255)] {
            let mut packet = [&length.to_be_bytes()[..], &[padding]].concat();
            packet.resize(4 + length as usize, 2);
            let result = Raw::greeted(role, offer(role)).feed(&packet);
            assert!(
                matches!(result, Err(Error::Peer(Misbehaviour::PacketLength))),
                "{role:?}, {length}, {padding}: {result:?}"
            );
        }
    }
}

#[test]
fn a_packet_of_the_greatest_length_is_read() {
    for role in ROLES {
        for suite in SUITES {
            let mut raw = keyed_with(role, suite);
            let mut ignore = vec![0; MOST as usize - 64];
            ignore[0] = 2;
            let packet = raw.packet(&ignore);
            raw.feed(&packet).unwrap_or_else(|error| panic!("{role:?}, {suite:?}: {error:?}"));
        }
    }
}

#[test]
fn a_packet_that_never_ends_costs_its_length_at_most() {
    for role in ROLES {
        bounded(|| {
            let mut raw = keyed_with(role, SUITES[0]);
            raw.feed(&MOST.to_be_bytes()).expect("the length is allowed");
            for _ in 0..MOST / 1024 {
                raw.feed(&[0; 1024]).expect("the packet is not there yet");
            }
            assert!(matches!(raw.feed(&[0; 32]), Err(Error::Packet(OpenError::Forged))));
        });
    }
}

#[test]
fn a_sealer_cannot_be_made_to_send_what_is_not_framed() {
    let mut packet = vec![0; 64];
    assert!(Sealer::clear().seal(0, &mut packet).is_err());
}
