//! What can go wrong in a key exchange, first and later: lists, guesses, values, order, and who stands in between.

use culvert_obfuscation::Seed;
use culvert_ssh::host_key::{VerifyError, verify};
use culvert_ssh::kex::{KexError, encode_init};
use culvert_ssh::kexinit::{KexInitError, NegotiateError, Role};
use culvert_ssh::names::{HostKeyAlgorithm, KexName, wire_name};
use culvert_ssh::wire::{WireError, WriteWire};
use culvert_ssh::{Algorithms, Error, IdentError, Limits, Misbehaviour};

use crate::peer::{IDENT, NEWKEYS, Raw, message, names, numbers, offer, offer_unmarked};
use crate::{ROLES, TUNNEL, bounded, broken};

/// IGNORE, UNIMPLEMENTED, DEBUG and EXT_INFO: what may be said at any time but in a first exchange.
fn fillers() -> [Vec<u8>; 4] {
    let mut ext_info = numbers(7, &[1]);
    ext_info.put_string(b"server-sig-algs");
    ext_info.put_string(b"");
    [message(2, &[b"x"]), numbers(3, &[0]), message(4, &[b"", b"", b""]), ext_info]
}

/// CVE-2026-48108: what comes before the identification.
#[test]
fn text_without_an_identification_is_bounded() {
    for role in ROLES {
        bounded(|| {
            let result = Raw::new(role, offer(role)).feed(&[b'x'; 4096]);
            assert!(matches!(result, Err(Error::Ident(IdentError::LineTooLong))), "{result:?}");
            let mut raw = Raw::new(role, offer(role));
            let result = (0..1_000_000).try_for_each(|_| raw.feed(b"hello\r\n"));
            assert!(matches!(result, Err(Error::Ident(IdentError::Missing))), "{result:?}");
            let result = Raw::new(role, offer(role)).feed(b"SSH-1.5-old\r\n");
            assert!(matches!(result, Err(Error::Ident(IdentError::Version))), "{result:?}");
        });
    }
}

/// Terrapin, CVE-2023-48795: filler in the first exchange shifts sequence numbers.
#[test]
fn nobody_can_fill_the_first_exchange() {
    for role in ROLES {
        // A marker that shaping dropped on one side must not make it possible either.
        for offer in [offer(role), offer_unmarked(role)] {
            for filler in fillers() {
                let mut before = Raw::greeted(role, offer.clone());
                assert_eq!(broken(before.say(&filler)), Misbehaviour::StrictKex);
                let mut during = Raw::greeted(role, offer.clone());
                during.kexinit().expect("by the book");
                assert_eq!(broken(during.say(&filler)), Misbehaviour::StrictKex);
                let mut late = Raw::greeted(role, offer.clone());
                late.kexinit().expect("by the book");
                late.methods().expect("by the book");
                assert_eq!(broken(late.say(&filler)), Misbehaviour::StrictKex);
            }
        }
    }
}

#[test]
fn later_exchanges_may_be_filled() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        raw.kexinit().expect("by the book");
        let (secret, hash) = raw.methods().expect("by the book");
        for filler in fillers() {
            raw.say(&filler).expect("is allowed at any time after the first exchange");
        }
        raw.newkeys(&secret, &hash).expect("by the book");
        raw.say(&message(192, &[b"ping"])).expect("the keys fit");
        assert_eq!(raw.next_of(193), message(193, &[b"ping"]));
    }
}

#[test]
fn sequence_numbers_begin_anew_with_both_markers_and_only_then() {
    for role in ROLES {
        for marked in [true, false] {
            let mut offer = if marked { offer(role) } else { offer_unmarked(role) };
            // The sequence number is its nonce: a difference shows at once.
            let chacha = names(wire_name::CHACHA20_POLY1305);
            (offer.lists.cipher_c2s, offer.lists.cipher_s2c) = (chacha.clone(), chacha);
            let mut raw = Raw::greeted(role, offer.clone());
            raw.exchange().expect("by the book");
            raw.log_in();
            for _ in 0..3 {
                raw.say(&message(2, &[b""])).expect("sequence numbers agree");
                raw.exchange().expect("by the book");
            }
            raw.say(&message(192, &[b"ping"])).expect("sequence numbers agree");
            raw.next_of(193);

            let mut shifted = Raw::greeted(role, offer);
            shifted.exchange().expect("by the book");
            shifted.send_sequence = if marked { 3 } else { 0 };
            let result = shifted.say(&message(2, &[&[7; 40]]));
            assert!(matches!(result, Err(Error::Packet(_)) | Ok(())), "{result:?}");
            assert!(!shifted.connection.is_authenticated());
            assert!(shifted.events.len() <= 1, "a packet with a wrong number was taken");
        }
    }
}

/// The other half of Terrapin: the first encrypted packet is cut off.
#[test]
fn a_packet_that_is_missing_is_noticed_with_every_cipher() {
    for role in ROLES {
        for cipher in [wire_name::AES128_GCM, wire_name::CHACHA20_POLY1305, wire_name::AES128_CTR] {
            for (marked, mac) in [(true, wire_name::HMAC_SHA256_ETM), (false, wire_name::HMAC_SHA256)] {
                let mut offer = if marked { offer(role) } else { offer_unmarked(role) };
                let lists = &mut offer.lists;
                (lists.cipher_c2s, lists.cipher_s2c) = (names(cipher), names(cipher));
                (lists.mac_c2s, lists.mac_s2c) = (names(mac), names(mac));
                let mut raw = Raw::greeted(role, offer);
                raw.exchange().expect("by the book");
                drop(raw.packet(&message(2, &[b"cut off on its way"])));
                let packet = raw.packet(&message(2, &[b"arrives"]));
                // A length that came out wrong may ask for more than there is.
                let result = raw.feed(&packet).and_then(|()| raw.feed(&vec![0; 300_000]));
                assert!(matches!(result, Err(Error::Packet(_))), "{role:?}, {cipher}, {mac}: {result:?}");
            }
        }
    }
}

/// The greatest packet that RFC 4253 section 6.1 asks for, as a KEXINIT.
#[test]
fn lists_of_35_kilobytes_are_read_or_refused_within_bounds() {
    for role in ROLES {
        let cases: [(Vec<u8>, &str); 4] = [
            (vec![b'x'; 35_000], "one long name"),
            ([b"x,".repeat(17_499), b"x".to_vec()].concat(), "many names"),
            (vec![b','; 35_000], "commas"),
            (vec![0xff; 35_000], "not ASCII"),
        ];
        for (list, what) in cases {
            for at in 0..10 {
                bounded(|| {
                    let mut payload = vec![20];
                    payload.extend_from_slice(&[7; 16]);
                    (0..10).for_each(|n| payload.put_string(if n == at { &list } else { b"none" }));
                    payload.extend_from_slice(&[0; 5]);
                    let result = Raw::greeted(role, offer(role)).say(&payload);
                    let named = matches!(
                        result,
                        Err(Error::KexInit(
                            KexInitError::TooManyNames | KexInitError::Wire(WireError::BadNameList)
                        ) | Error::Negotiate(NegotiateError::NoCommon { .. }))
                    );
                    assert!(named, "{role:?}, {what}, list {at}: {result:?}");
                });
            }
        }
        let mut long = offer(role);
        long.lists.kex.extend(names(&"x".repeat(30_000).leak()[..]));
        let mut raw = Raw::greeted(role, long);
        bounded(|| raw.exchange()).expect("long names nobody knows are no fault");
    }
}

/// GHSA-p8qx-h547-fjw9: a cipher with MAC `none`.
#[test]
fn nothing_unprotected_is_ever_agreed() {
    for role in ROLES {
        let mut cases = Vec::new();
        for name in ["none", "hmac-sha1", "hmac-sha1-96", "hmac-md5", ""] {
            let mut offer = offer(role);
            let ctr = names(wire_name::AES128_CTR);
            (offer.lists.cipher_c2s, offer.lists.cipher_s2c) = (ctr.clone(), ctr);
            let list = if name.is_empty() { Vec::new() } else { names(name) };
            (offer.lists.mac_c2s, offer.lists.mac_s2c) = (list.clone(), list);
            cases.push(offer);
        }
        for name in ["none", "3des-cbc", "aes128-cbc", "arcfour", "AEAD_AES_128_GCM"] {
            let mut offer = offer(role);
            (offer.lists.cipher_c2s, offer.lists.cipher_s2c) = (names(name), names(name));
            cases.push(offer);
        }
        for name in [
            "none",
            "diffie-hellman-group1-sha1",
            "diffie-hellman-group14-sha1",
            "kex-strict-s-v00@openssh.com",
        ] {
            let mut offer = offer(role);
            offer.lists.kex = names(name);
            cases.push(offer);
        }
        for name in ["none", "ssh-dss", "ssh-rsa", "null"] {
            let mut offer = offer(role);
            offer.lists.host_key = names(name);
            cases.push(offer);
        }
        for offer in cases {
            let lists = format!("{:?}", offer.lists);
            let result = Raw::greeted(role, offer).say_kexinit();
            assert!(matches!(result, Err(Error::Negotiate(_))), "{role:?}, {lists}: {result:?}");
        }
    }
}

/// RUSTSEC-2026-0493: compressed packets before login. Agreed for appearance, compression is never applied.
#[test]
fn agreed_compression_is_not_applied() {
    for role in ROLES {
        let mut agreed = 0;
        for number in 0..20 {
            let algorithms =
                Algorithms { seed: Some(Seed::from_bytes([number; 32])), ..Algorithms::default() };
            let mut offer = offer(role);
            let lists = &mut offer.lists;
            lists.kex =
                names("curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384");
            lists.kex.extend(names("ecdh-sha2-nistp521,mlkem768x25519-sha256,diffie-hellman-group14-sha256"));
            lists.host_key = names("rsa-sha2-256");
            let ciphers =
                names("aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com");
            (lists.cipher_c2s, lists.cipher_s2c) = (ciphers.clone(), ciphers);
            lists.compression_c2s = names("zlib@openssh.com");
            lists.compression_s2c = names("zlib@openssh.com");
            let mut raw = Raw::with(role, offer, Limits::default(), algorithms);
            raw.greet();
            if raw.say_kexinit().is_err() {
                continue;
            }
            raw.take_kexinit();
            raw.finish_exchange().expect("by the book");
            agreed += 1;
            raw.log_in();
            raw.say(&message(192, &[b"plain"])).expect("is not inflated");
            assert_eq!(raw.next_of(193), message(193, &[b"plain"]), "is not deflated");
            // What a bomb is made of is a PING like any other.
            raw.say(&message(192, &[&[0x78, 0x9c, 0xec, 0xc1, 0x01, 0x01]])).expect("is not inflated");
        }
        assert!(agreed > 0, "{role:?}: compression was never agreed");
    }
}

/// CVE-2026-73429 and its like: public values of a wrong length, or that give the secret away.
#[test]
fn public_values_are_checked_in_every_method() {
    for kex in KexName::ALL {
        for len in [
            0, 1, 31, 32, 33, 64, 65, 97, 133, 255, 256, 257, 511, 512, 513, 1183, 1184, 1215, 1216, 1217,
            60_000,
        ] {
            for byte in [0, 1, 4, 0x7f] {
                let mut offer = offer(Role::Server);
                offer.lists.kex = vec![kex.wire_name().into()];
                let mut raw = Raw::greeted(Role::Server, offer);
                raw.kexinit().expect("by the book");
                let value = vec![byte; len];
                let result = bounded(|| raw.say(&encode_init(kex, &value)));
                // Numbers of up to the group's size, and points that any 32 bytes are, are good values.
                let good = match kex {
                    KexName::DhGroup14Sha256 => (1..=256).contains(&len) && byte != 0,
                    KexName::DhGroup16Sha512 => (1..=512).contains(&len) && byte != 0,
                    KexName::Curve25519Sha256 => len == 32 && byte > 1,
                    _ => false,
                } && !(len == 1 && byte == 1);
                match result {
                    Err(Error::Kex(KexError::BadPublicValue)) => assert!(!good, "{kex:?}, {len}, {byte}"),
                    Ok(()) => assert!(
                        good || kex == KexName::Curve25519Sha256 && len == 32
                            || kex == KexName::MlKem768X25519Sha256 && len == 1216,
                        "{kex:?}, {len}, {byte}"
                    ),
                    other => panic!("{kex:?}, {len}, {byte}: {other:?}"),
                }
            }
        }
    }
}

/// GO-2026-5018: a host key of 16,384 bits, whose check would take seconds.
#[test]
fn a_huge_host_key_is_not_even_tried() {
    let mut blob = Vec::new();
    blob.put_string(b"ssh-rsa");
    blob.put_mpint(&[1, 0, 1]);
    blob.put_mpint(&[0x7f; 2048]);
    let mut signature = Vec::new();
    signature.put_string(b"rsa-sha2-256");
    signature.put_string(&[0x55; 2048]);
    let verified = verify(HostKeyAlgorithm::RsaSha256, &blob, b"hash", &signature);
    assert_eq!(verified, Err(VerifyError::BadNumbers));

    let mut raw = Raw::greeted(Role::Client, offer(Role::Client));
    raw.kexinit().expect("by the book");
    let mut reply = message(31, &[&blob, &[9; 32]]);
    reply.put_string(&signature);
    assert!(matches!(bounded(|| raw.say(&reply)), Err(Error::HostKeyMismatch)));
    let heard = raw.heard();
    assert!(
        heard.iter().all(|message| matches!(message.first(), Some(20 | 30))),
        "the password may not leave"
    );
}

/// CVE-2022-27191: a signature that names another algorithm than the key's, or nothing at all.
#[test]
fn signatures_of_other_kinds_are_refused() {
    let key = crate::peer::host_key();
    for name in [&b"ssh-ed25519"[..], b"ecdsa-sha2-nistp256", b"ssh-rsa", b"rsa-sha2-512", b""] {
        for len in [0, 1, 64, 256] {
            let mut raw = Raw::greeted(Role::Client, offer(Role::Client));
            raw.kexinit().expect("by the book");
            let mut signature = Vec::new();
            signature.put_string(name);
            signature.put_string(&vec![7; len]);
            let mut reply = message(31, &[key.public_blob(), &[9; 32]]);
            reply.put_string(&signature);
            assert!(matches!(raw.say(&reply), Err(Error::HostKey(_))), "{name:?}, {len}");
        }
    }
}

#[test]
fn a_wrong_signature_lets_no_password_out() {
    let mut raw = Raw::greeted(Role::Client, offer(Role::Client));
    raw.kexinit().expect("by the book");
    let key = crate::peer::host_key();
    let signature = key.sign(HostKeyAlgorithm::RsaSha256, b"another hash").expect("signs");
    let mut reply = message(31, &[key.public_blob(), &[9; 32]]);
    reply.put_string(&signature);
    assert!(matches!(raw.say(&reply), Err(Error::HostKey(VerifyError::BadSignature))));
    assert!(raw.heard().iter().all(|message| matches!(message.first(), Some(20 | 30))));
}

#[test]
fn steps_out_of_order_are_refused() {
    for role in ROLES {
        let method = if role == Role::Server { 30 } else { 31 };
        let early = |payload: &[u8]| broken(Raw::greeted(role, offer(role)).say(payload));
        assert_eq!(early(&[NEWKEYS]), Misbehaviour::UnexpectedMessage(NEWKEYS));
        assert_eq!(early(&[method]), Misbehaviour::UnexpectedMessage(method));
        let mut twice = Raw::greeted(role, offer(role));
        twice.kexinit().expect("by the book");
        let again = twice.offer.encode();
        assert_eq!(broken(twice.say(&again)), Misbehaviour::UnexpectedMessage(20));
        let mut short = Raw::greeted(role, offer(role));
        short.kexinit().expect("by the book");
        assert_eq!(broken(short.say(&[NEWKEYS])), Misbehaviour::UnexpectedMessage(NEWKEYS));
        let mut long = Raw::greeted(role, offer(role));
        long.kexinit().expect("by the book");
        long.methods().expect("by the book");
        assert!(matches!(long.say(&[NEWKEYS, 0]), Err(Error::Wire(WireError::TrailingBytes))));
        let mut late = Raw::logged_in(role);
        assert_eq!(broken(late.say(&[NEWKEYS])), Misbehaviour::UnexpectedMessage(NEWKEYS));
        let mut method_late = Raw::logged_in(role);
        assert_eq!(broken(method_late.say(&[method])), Misbehaviour::UnexpectedMessage(method));
    }
}

#[test]
fn a_wrong_guess_is_skipped_once() {
    let mut offer = offer(Role::Server);
    offer.lists.kex = names("guessed@example.org,curve25519-sha256,kex-strict-c-v00@openssh.com");
    offer.first_kex_packet_follows = true;
    let mut raw = Raw::greeted(Role::Server, offer.clone());
    raw.kexinit().expect("by the book");
    raw.say(&message(30, &[b"a guess"])).expect("is skipped");
    raw.finish_exchange().expect("by the book");
    let mut twice = Raw::greeted(Role::Server, offer);
    twice.kexinit().expect("by the book");
    twice.say(&message(30, &[b"a guess"])).expect("is skipped");
    assert!(matches!(twice.say(&message(30, &[b"a guess"])), Err(Error::Kex(KexError::BadPublicValue))));
}

/// CVE-2025-22869: what an application writes while the peer stalls a key exchange.
#[test]
fn a_stalled_exchange_costs_no_more_than_the_queues() {
    for role in ROLES {
        let ((), peak) = crate::allocator::peak(|| {
            let (mut raw, id) = Raw::with_channel(role);
            let kexinit = raw.offer.encode();
            raw.say(&kexinit).expect("an exchange may begin at any time");
            let mut taken = 0;
            for _ in 0..10_000 {
                taken += raw.connection.write(id, &[1; 1000]);
                raw.wire_is_read();
            }
            assert!(taken <= 256 * 1024, "{taken} bytes were taken in");
            // Nor may the peer say anything else now.
            assert_eq!(broken(raw.say(&message(192, &[b"x"]))), Misbehaviour::UnexpectedMessage(192));
        });
        assert!(peak < TUNNEL, "{peak}");
    }
}

/// The peer answers our KEXINIT with everything but its own.
#[test]
fn replies_owed_while_an_exchange_is_stalled_are_bounded() {
    for role in ROLES {
        let limits = Limits { rekey_bytes: Some(4096), ..Limits::default() };
        let mut raw = Raw::with(role, offer(role), limits, Algorithms::default());
        raw.greet();
        raw.exchange().expect("by the book");
        raw.log_in();
        let result = bounded(|| raw.say_all((0..100_000).map(|_| message(192, &[&[1; 500]]))));
        assert_eq!(broken(result), Misbehaviour::RepliesUnread);
    }
}

#[test]
fn a_storm_of_exchanges_is_cut_short() {
    for role in ROLES {
        let mut before = Raw::keyed(role);
        let kexinit = before.offer.encode();
        assert_eq!(broken(before.say(&kexinit)), Misbehaviour::RekeyStorm, "before login");

        let mut raw = Raw::logged_in(role);
        let result = bounded(|| (0..1000).try_for_each(|_| raw.exchange()));
        assert_eq!(broken(result), Misbehaviour::RekeyStorm, "{role:?}");
    }
}

#[test]
fn exchanges_under_load_are_no_storm() {
    for role in ROLES {
        let (mut raw, _) = Raw::with_channel(role);
        for _ in 0..300 {
            for _ in 0..2 {
                raw.say(&crate::peer::data(0, &[1; 16 * 1024])).expect("within the window");
            }
            raw.exchange().expect("keys may be renewed for every 32 KiB");
        }
        assert_eq!(raw.received, 300 * 32 * 1024);
    }
}

#[test]
fn both_may_begin_at_once() {
    for role in ROLES {
        let limits = Limits { rekey_bytes: Some(8 * 1024), ..Limits::default() };
        let mut raw = Raw::with(role, offer(role), limits, Algorithms::default());
        raw.greet();
        raw.exchange().expect("by the book");
        raw.log_in();
        // The connection's KEXINIT is on its way already when ours leaves.
        raw.say(&message(2, &[&[1; 9000]])).expect("is allowed");
        raw.exchange().expect("by the book");
        raw.say(&message(192, &[b"ping"])).expect("the keys fit");
        raw.next_of(193);
    }
}

#[test]
fn an_identification_may_hold_any_bytes() {
    let line = [IDENT, &[0, 0xff, 0x1b, b'[', b'2', b'J'], b"\r\n"].concat();
    for role in ROLES {
        Raw::new(role, offer(role)).feed(&line).expect("bytes are bytes");
    }
}
