//! How the connections of the SSH targets are set up, and the one host key of all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use culvert_obfuscation::{GeneratedPrefix, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, Seed};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::names::HostKeyAlgorithm;
use culvert_ssh::{
    Algorithms, ClientConfig, ClientObfuscation, Decisions, Ident, Limits, Preamble, ReplyPrefix,
    ServerConfig, ServerObfuscation,
};

pub(crate) const IDENT: &[u8] = b"SSH-2.0-OpenSSH_8.1";
pub(crate) const USER: &[u8] = b"u";
pub(crate) const PASSWORD: &[u8] = b"p";

/// Of the run, not of the input: it decides nothing but signatures.
pub(crate) static HOST_KEY: LazyLock<Arc<HostKey>> =
    LazyLock::new(|| Arc::new(HostKey::generate().expect("a host key can be made")));

pub(crate) fn client_config() -> ClientConfig {
    ClientConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: HOST_KEY.public_blob().to_vec(),
        user: USER.to_vec(),
        password: PASSWORD.to_vec().into(),
        obfuscation: None,
        limits: limits(),
        seed: Seed::from_bytes([1; 32]),
    }
}

pub(crate) fn server_config() -> ServerConfig {
    ServerConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: Arc::clone(&HOST_KEY),
        obfuscation: None,
        decisions: Decisions {
            reply_prefix: Box::new(|_, _| ReplyPrefix {
                prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("the prefix is long enough"),
                split: None,
            }),
            authenticate: Box::new(|user, password| user == USER && password == PASSWORD),
        },
        limits: limits(),
        seed: Seed::from_bytes([2; 32]),
    }
}

pub(crate) fn server_obfuscation() -> ServerObfuscation {
    ServerObfuscation {
        keyword: keyword(),
        fallback_seed: Seed::from_bytes([3; 32]),
        preamble: Preamble::Expected { admit: Box::new(|_| true) },
    }
}

pub(crate) fn client_obfuscation() -> ClientObfuscation {
    let plan = preamble_plan();
    ClientObfuscation {
        preamble: culvert_obfuscation::ClientPreamble::new(&keyword(), &plan),
        padding_seed: plan.padding_seed,
        keyword: keyword(),
    }
}

/// A client's preamble; short, for it is not what is tested.
pub(crate) fn preamble_plan() -> PreamblePlan {
    PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes([9; 16]),
        padding_seed: Seed::from_bytes([5; 32]),
        padding: PaddingRange::new(Some(32), Some(64)),
        prefix: None,
    }
}

pub(crate) fn keyword() -> Keyword {
    Keyword::new(crate::KEYWORD)
}

/// The host key's signature of an exchange hash. Most runs begin with the same exchange, and signing is what takes longest in it.
pub(crate) fn signature(hash: &[u8]) -> Vec<u8> {
    const MOST_KEPT: usize = 1000;
    thread_local! {
        static KNOWN: RefCell<BTreeMap<Vec<u8>, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    }
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        let sign = || HOST_KEY.sign(HostKeyAlgorithm::RsaSha256, hash).expect("the key signs");
        known.entry(hash.to_vec()).or_insert_with(sign).clone()
    })
}

fn limits() -> Limits {
    Limits { channels: 64, ..Limits::default() }
}

fn ident() -> Ident {
    Ident::local(std::str::from_utf8(IDENT).expect("it is ASCII")).expect("the identification is valid")
}
