//! What this end offers: fixed lists, or lists drawn from a seed that the peer may be able to predict.
//!
//! Source: PROTOCOL.md 3.3.2, 3.3.4, 3.3.5 and 11. A different order of draws would break the prediction that
//! deployed clients make of their server.

use std::borrow::Cow;

use culvert_obfuscation::{Prng, Seed};

use super::lists::{self, MacLists};
use super::shaping::{
    List, add_some, avoid, ensure_has_one, permute, pick_some, prefer_common, retain, select_kex,
};
use super::{NameLists, Role};
use crate::names::wire_name;

/// What decides an offer, for the life of a connection (PROTOCOL.md 3.3.2).
#[derive(Debug, Clone)]
pub struct OfferPolicy {
    /// Which end offers.
    pub role: Role,
    /// Leave out MACs that send the packet length in clear: every protocol except plain SSH.
    pub no_encrypt_then_mac: bool,
    /// Draw the lists from this seed; without it the fixed lists are offered.
    pub seed: Option<Seed>,
    /// Client only: the seed that the server is known to draw from.
    pub peer_seed: Option<Seed>,
    /// Server only: the names that its host key can sign with, most preferred first.
    pub host_key_names: Vec<&'static str>,
}

impl OfferPolicy {
    /// The host key names of a server with an RSA key.
    #[must_use]
    pub fn rsa_host_key_names() -> Vec<&'static str> {
        lists::RSA_HOST_KEYS.to_vec()
    }
}

/// The lists to send. Markers are in the starting list of the first exchange only; a server that draws its
/// lists repeats them in every exchange.
#[must_use]
pub fn offer(policy: &OfferPolicy, first_exchange: bool) -> NameLists {
    let macs = lists::macs(policy.no_encrypt_then_mac);
    match (policy.role, &policy.seed) {
        (_, None) => fixed(policy, macs, first_exchange).into_name_lists(),
        (Role::Server, Some(seed)) => {
            let mut prng = Prng::new(seed);
            let drawn = draw_server(&mut prng, macs, &policy.host_key_names);
            let compression = draw_compression(&mut prng);
            Lists { compression, ..drawn }.into_name_lists()
        }
        (Role::Client, Some(seed)) => {
            let mut prng = Prng::new(seed);
            let drawn = draw_client(&mut prng, macs, first_exchange);
            let adjusted = match &policy.peer_seed {
                Some(peer) => adjust_to_predicted(&mut prng, drawn, macs, peer),
                None => adjust_to_fixed(drawn, macs),
            };
            let compression = draw_compression(&mut prng);
            Lists { compression, ..adjusted }.into_name_lists()
        }
    }
}

/// Both directions of each list are always the same.
struct Lists {
    kex: List,
    host_key: List,
    cipher: List,
    mac: List,
    compression: List,
}

impl Lists {
    fn into_name_lists(self) -> NameLists {
        let names = |list: &[&'static str]| list.iter().copied().map(Cow::Borrowed).collect::<Vec<_>>();
        NameLists {
            kex: names(&self.kex),
            host_key: names(&self.host_key),
            cipher_c2s: names(&self.cipher),
            cipher_s2c: names(&self.cipher),
            mac_c2s: names(&self.mac),
            mac_s2c: names(&self.mac),
            compression_c2s: names(&self.compression),
            compression_s2c: names(&self.compression),
        }
    }
}

fn fixed(policy: &OfferPolicy, macs: &MacLists, first_exchange: bool) -> Lists {
    let (markers, host_key) = match policy.role {
        Role::Client => (lists::CLIENT_MARKERS, lists::CLIENT_HOST_KEYS.to_vec()),
        Role::Server => (lists::SERVER_MARKERS, policy.host_key_names.clone()),
    };
    Lists {
        kex: with_markers(markers, first_exchange),
        host_key,
        cipher: lists::CIPHERS.to_vec(),
        mac: macs.all.to_vec(),
        compression: lists::COMPRESSION_OFF.to_vec(),
    }
}

fn with_markers(markers: &[&'static str], first_exchange: bool) -> List {
    let mut kex = lists::KEX.to_vec();
    if first_exchange {
        kex.extend_from_slice(markers);
    }
    kex
}

/// PROTOCOL.md 3.3.4, steps 1 to 4; compression is left off.
fn draw_server(prng: &mut Prng, macs: &MacLists, host_key_names: &[&'static str]) -> Lists {
    let kex = select_kex(prng, lists::LEGACY_SERVER_KEX);
    let cipher = pick_some(prng, lists::LEGACY_SERVER_CIPHERS);
    let mac = pick_some(prng, macs.legacy_server);
    let host_key = permute(prng, host_key_names);

    let mac = avoid(prng, mac, lists::WEAK_MACS, macs.legacy_server);

    let kex = add_some(prng, kex, lists::NEW_SERVER_KEX_FIRST);
    let cipher = add_some(prng, cipher, lists::NEW_SERVER_CIPHERS);
    let mac = add_some(prng, mac, macs.new_server);
    let kex = add_some(prng, kex, lists::NEW_SERVER_KEX_SECOND);

    Lists {
        kex: ensure_has_one(kex, lists::GOOD_KEX),
        host_key: ensure_has_one(host_key, lists::GOOD_HOST_KEYS),
        cipher,
        mac: ensure_has_one(mac, lists::GOOD_MACS),
        compression: lists::COMPRESSION_OFF.to_vec(),
    }
}

/// PROTOCOL.md 3.3.5, step 1.
fn draw_client(prng: &mut Prng, macs: &MacLists, first_exchange: bool) -> Lists {
    let kex = select_kex(prng, &with_markers(lists::CLIENT_MARKERS, first_exchange));
    let cipher = pick_some(prng, lists::CIPHERS);
    let mac = pick_some(prng, macs.all);
    let host_key = pick_some(prng, lists::CLIENT_HOST_KEYS);
    // Deployed servers have an RSA key, and older ones know it by this name only.
    let host_key = retain(prng, host_key, wire_name::SSH_RSA);
    Lists { kex, host_key, cipher, mac, compression: lists::COMPRESSION_OFF.to_vec() }
}

/// PROTOCOL.md 3.3.5, step 2: make sure that something usable is agreed with the lists the server will send.
fn adjust_to_predicted(prng: &mut Prng, own: Lists, macs: &MacLists, peer: &Seed) -> Lists {
    let server = draw_server(&mut Prng::new(peer), macs, lists::RSA_HOST_KEYS);
    let kex = prefer_common(own.kex, &server.kex, lists::GOOD_KEX);
    let shares_cipher = own.cipher.iter().any(|name| server.cipher.contains(name));
    let cipher = match server.cipher.first() {
        Some(first) if !shares_cipher => retain(prng, own.cipher, first),
        _ => own.cipher,
    };
    Lists {
        kex,
        host_key: prefer_common(own.host_key, &server.host_key, lists::GOOD_HOST_KEYS),
        cipher,
        mac: prefer_common(own.mac, &server.mac, lists::GOOD_MACS),
        compression: own.compression,
    }
}

/// PROTOCOL.md 3.3.5, step 3: the server sends its fixed lists, which hold every cipher.
fn adjust_to_fixed(own: Lists, macs: &MacLists) -> Lists {
    Lists {
        kex: prefer_common(own.kex, lists::KEX, lists::GOOD_KEX),
        host_key: prefer_common(own.host_key, lists::RSA_HOST_KEYS, lists::GOOD_HOST_KEYS),
        mac: prefer_common(own.mac, macs.all, lists::GOOD_MACS),
        ..own
    }
}

/// PROTOCOL.md 3.3.4, step 5: offered as other software does, and never applied (PROTOCOL.md 3.1).
fn draw_compression(prng: &mut Prng) -> List {
    if prng.flip_coin() { permute(prng, lists::COMPRESSION_OFFERED) } else { lists::COMPRESSION_OFF.to_vec() }
}
