//! Offers at re-keying and what negotiation makes of odd pairs of lists. Offers of the first exchange are checked
//! against known answers outside this crate.

use std::borrow::Cow;

use culvert_obfuscation::Seed;

use super::*;
use crate::names::{CipherName, HostKeyAlgorithm, KexName, MacName, wire_name as n};

fn policy(role: Role, seed: Option<u8>) -> OfferPolicy {
    OfferPolicy {
        role,
        no_encrypt_then_mac: true,
        seed: seed.map(|byte| Seed::from_bytes([byte; 32])),
        peer_seed: None,
        host_key_names: OfferPolicy::rsa_host_key_names(),
    }
}

fn init(lists: NameLists) -> KexInit {
    KexInit { cookie: [0; 16], lists, first_kex_packet_follows: false }
}

/// A default pair of lists, for tests to change.
fn pair() -> (KexInit, KexInit) {
    let client = offer(&policy(Role::Client, None), true);
    let mut server = offer(&policy(Role::Server, None), true);
    // The fixed client list starts with names that no server here has; the first common one is rsa-sha2-256.
    server.compression_c2s = vec![Cow::Borrowed(n::COMPRESSION_NONE)];
    (init(client), init(server))
}

fn names(list: &[&'static str]) -> Vec<Name> {
    list.iter().copied().map(Cow::Borrowed).collect()
}

const MARKERS: [&str; 3] = [n::EXT_INFO_C, n::KEX_STRICT_C, n::KEX_STRICT_S];

/// PROTOCOL.md 3.3.2 and 11.
#[test]
fn rekey_offers() {
    let mut server_kept_marker = 0;
    for byte in 0..=255 {
        let server = policy(Role::Server, Some(byte));
        assert_eq!(offer(&server, true), offer(&server, false), "seed {byte}");
        server_kept_marker +=
            usize::from(offer(&server, false).kex.iter().any(|name| name == n::KEX_STRICT_S));

        let client = offer(&policy(Role::Client, Some(byte)), false);
        assert!(!client.kex.iter().any(|name| MARKERS.contains(&&**name)), "seed {byte}");
    }
    // The coin of the marker: half of the seeds.
    assert!((64..192).contains(&server_kept_marker), "{server_kept_marker} of 256");

    let first = offer(&policy(Role::Server, None), true);
    let again = offer(&policy(Role::Server, None), false);
    assert_eq!(first.kex.last().map(|name| &**name), Some(n::KEX_STRICT_S));
    assert_eq!(again.kex, first.kex[..first.kex.len() - 1]);
    assert_eq!(NameLists { kex: again.kex.clone(), ..first }, again);
}

/// A shaped client always agrees on something usable with a fixed server, and with the server that it predicts except
/// when they have nothing better in common than group exchange: about once in ten thousand pairs of seeds, here once.
#[test]
fn shaped_offers_agree() {
    let mut group_exchanges = 0;
    for client_seed in 0..=255_u8 {
        let server_seed = client_seed.wrapping_mul(31).wrapping_add(7);
        for first_exchange in [true, false] {
            let mut client = policy(Role::Client, Some(client_seed));
            let fixed = offer(&policy(Role::Server, None), first_exchange);
            let agreed = negotiate(Role::Client, &init(offer(&client, first_exchange)), &init(fixed));
            assert!(agreed.is_ok(), "seed {client_seed}: {agreed:?}");

            client.no_encrypt_then_mac = false;
            client.peer_seed = Some(Seed::from_bytes([server_seed; 32]));
            let mut server = policy(Role::Server, Some(server_seed));
            server.no_encrypt_then_mac = false;
            let (client, server) =
                (init(offer(&client, first_exchange)), init(offer(&server, first_exchange)));
            match negotiate(Role::Client, &client, &server) {
                Ok(_) => {}
                Err(NegotiateError::Refused { category: Category::Kex, name })
                    if name == n::DH_GEX_SHA256 =>
                {
                    group_exchanges += 1;
                }
                Err(error) => panic!("seeds {client_seed}, {server_seed}: {error}"),
            }
        }
    }
    assert!(group_exchanges <= 2, "{group_exchanges} of 512");
}

#[test]
fn fixed_lists_agree() {
    let (client, server) = pair();
    let agreed = negotiate(Role::Client, &client, &server).expect("agreement");
    assert_eq!(
        agreed,
        Negotiated {
            kex: KexName::MlKem768X25519Sha256,
            host_key: HostKeyAlgorithm::RsaSha256,
            cipher_c2s: CipherName::Aes128Gcm,
            cipher_s2c: CipherName::Aes128Gcm,
            mac_c2s: None,
            mac_s2c: None,
            guess_wrong: false,
            client_wants_ext_info: true,
            strict: true,
        }
    );
    assert_eq!(agreed.suite(Direction::ServerToClient), Suite { cipher: CipherName::Aes128Gcm, mac: None });
}

#[test]
fn strict_needs_both_markers() {
    for (drop_client, drop_server) in [(true, false), (false, true), (true, true)] {
        let (mut client, mut server) = pair();
        if drop_client {
            client.lists.kex.retain(|name| name != n::KEX_STRICT_C);
        }
        if drop_server {
            server.lists.kex.retain(|name| name != n::KEX_STRICT_S);
        }
        let agreed = negotiate(Role::Server, &client, &server).expect("agreement");
        assert!(!agreed.strict, "{drop_client} {drop_server}");
    }
    // The other side's marker does not count.
    let (mut client, mut server) = pair();
    client.lists.kex.retain(|name| name != n::KEX_STRICT_C);
    client.lists.kex.push(Cow::Borrowed(n::KEX_STRICT_S));
    server.lists.kex.push(Cow::Borrowed(n::KEX_STRICT_C));
    assert!(!negotiate(Role::Client, &client, &server).expect("agreement").strict);
}

/// PROTOCOL.md 3.3.
#[test]
fn guesses() {
    let right = |client: &mut KexInit, server: &mut KexInit| {
        client.lists.kex = names(&[n::CURVE25519_SHA256, n::KEX_STRICT_C]);
        server.lists.kex = names(&[n::CURVE25519_SHA256]);
        client.lists.host_key = names(&[n::RSA_SHA512, n::RSA_SHA256]);
        server.lists.host_key = names(&[n::RSA_SHA512]);
    };
    let judge = |role: Role, change: &dyn Fn(&mut KexInit, &mut KexInit)| {
        let (mut client, mut server) = pair();
        right(&mut client, &mut server);
        change(&mut client, &mut server);
        negotiate(role, &client, &server).expect("agreement").guess_wrong
    };
    let other_host_key = |client: &mut KexInit, _: &mut KexInit| client.lists.host_key.swap(0, 1);
    let marker_first = |client: &mut KexInit, _: &mut KexInit| client.lists.kex.swap(0, 1);
    let client_guesses = |client: &mut KexInit, _: &mut KexInit| client.first_kex_packet_follows = true;
    let server_guesses = |_: &mut KexInit, server: &mut KexInit| server.first_kex_packet_follows = true;

    assert!(!judge(Role::Server, &client_guesses));
    assert!(!judge(Role::Server, &other_host_key), "no flag");
    for wrong in [&other_host_key as &dyn Fn(&mut KexInit, &mut KexInit), &marker_first] {
        let both = |client: &mut KexInit, server: &mut KexInit| {
            wrong(client, server);
            client_guesses(client, server);
        };
        assert!(judge(Role::Server, &both));
        assert!(!judge(Role::Client, &both), "its own guess is not the client's to ignore");
        let server_too = |client: &mut KexInit, server: &mut KexInit| {
            wrong(client, server);
            server_guesses(client, server);
        };
        assert!(judge(Role::Client, &server_too));
    }
}

#[test]
fn unusable_agreements_are_refused() {
    let refused = |change: &dyn Fn(&mut NameLists), category: Category, name: &'static str| {
        let (mut client, mut server) = pair();
        change(&mut client.lists);
        change(&mut server.lists);
        assert_eq!(
            negotiate(Role::Server, &client, &server),
            Err(NegotiateError::Refused { category, name: Cow::Borrowed(name) })
        );
    };
    refused(&|l| l.kex = names(&[n::DH_GROUP14_SHA1]), Category::Kex, n::DH_GROUP14_SHA1);
    refused(&|l| l.kex = names(&[n::DH_GEX_SHA256]), Category::Kex, n::DH_GEX_SHA256);
    refused(&|l| l.kex = names(&[n::EXT_INFO_C]), Category::Kex, n::EXT_INFO_C);
    refused(&|l| l.host_key = names(&[n::SSH_RSA]), Category::HostKey, n::SSH_RSA);
    refused(&|l| l.host_key = names(&[n::RSA_SHA256_CERT]), Category::HostKey, n::RSA_SHA256_CERT);
    let up = Direction::ClientToServer;
    refused(
        &|l| {
            l.cipher_c2s = names(&[n::AES128_CTR]);
            l.mac_c2s = names(&[n::HMAC_SHA1]);
        },
        Category::Mac(up),
        n::HMAC_SHA1,
    );
    refused(&|l| l.compression_c2s = names(&["zlib"]), Category::Compression(up), "zlib");
}

#[test]
fn no_common_name() {
    let (mut client, server) = pair();
    client.lists.cipher_s2c = names(&["none"]);
    assert_eq!(
        negotiate(Role::Client, &client, &server),
        Err(NegotiateError::NoCommon { category: Category::Cipher(Direction::ServerToClient) })
    );
    // MAC lists do not matter with an authenticated cipher, and do without.
    let (mut client, server) = pair();
    client.lists.mac_s2c = Vec::new();
    assert!(negotiate(Role::Client, &client, &server).is_ok());
    client.lists.cipher_s2c = names(&[n::AES256_CTR]);
    assert_eq!(
        negotiate(Role::Client, &client, &server),
        Err(NegotiateError::NoCommon { category: Category::Mac(Direction::ServerToClient) })
    );
}

#[test]
fn directions_may_differ() {
    let (mut client, server) = pair();
    client.lists.cipher_s2c = names(&[n::AES192_CTR]);
    client.lists.mac_s2c = names(&["made-up@example.com", n::HMAC_SHA512]);
    client.lists.compression_s2c = names(&[n::COMPRESSION_NONE]);
    let agreed = negotiate(Role::Client, &client, &server).expect("agreement");
    assert_eq!((agreed.cipher_c2s, agreed.mac_c2s), (CipherName::Aes128Gcm, None));
    assert_eq!((agreed.cipher_s2c, agreed.mac_s2c), (CipherName::Aes192Ctr, Some(MacName::HmacSha512)));
}
