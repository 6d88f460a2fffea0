//! The fixed lists that offers are drawn from; order is part of each.
//!
//! Source: PROTOCOL.md 3.3.1 and 3.3.3.

use crate::names::wire_name as n;

pub(super) const KEX: &[&str] = &[
    n::MLKEM768X25519_SHA256,
    n::CURVE25519_SHA256,
    n::CURVE25519_SHA256_LIBSSH,
    n::ECDH_NISTP256,
    n::ECDH_NISTP384,
    n::ECDH_NISTP521,
    n::DH_GROUP14_SHA256,
    n::DH_GROUP16_SHA512,
    n::DH_GROUP14_SHA1,
];
pub(super) const CLIENT_MARKERS: &[&str] = &[n::EXT_INFO_C, n::KEX_STRICT_C];
pub(super) const SERVER_MARKERS: &[&str] = &[n::KEX_STRICT_S];

pub(super) const CIPHERS: &[&str] =
    &[n::AES128_GCM, n::AES256_GCM, n::CHACHA20_POLY1305, n::AES128_CTR, n::AES192_CTR, n::AES256_CTR];

pub(super) const CLIENT_HOST_KEYS: &[&str] = &[
    n::RSA_SHA256_CERT,
    n::RSA_SHA512_CERT,
    n::SSH_RSA_CERT,
    n::SSH_DSS_CERT,
    n::ECDSA_NISTP256_CERT,
    n::ECDSA_NISTP384_CERT,
    n::ECDSA_NISTP521_CERT,
    n::SSH_ED25519_CERT,
    n::ECDSA_NISTP256,
    n::ECDSA_NISTP384,
    n::ECDSA_NISTP521,
    n::RSA_SHA256,
    n::RSA_SHA512,
    n::SSH_RSA,
    n::SSH_DSS,
    n::SSH_ED25519,
];
/// What a server with an RSA key offers.
pub(super) const RSA_HOST_KEYS: &[&str] = &[n::RSA_SHA256, n::RSA_SHA512, n::SSH_RSA];

/// Names that are in a KEX list without being a method.
pub(super) const MARKERS: &[&str] = &[n::EXT_INFO_C, n::KEX_STRICT_C, n::KEX_STRICT_S];

pub(super) const WEAK_MACS: &[&str] = &[n::HMAC_SHA1_96];

pub(super) const LEGACY_SERVER_KEX: &[&str] = &[
    n::CURVE25519_SHA256_LIBSSH,
    n::ECDH_NISTP256,
    n::ECDH_NISTP384,
    n::ECDH_NISTP521,
    n::DH_GROUP14_SHA256,
    n::DH_GROUP14_SHA1,
];
pub(super) const LEGACY_SERVER_CIPHERS: &[&str] =
    &[n::AES128_GCM, n::CHACHA20_POLY1305, n::AES128_CTR, n::AES192_CTR, n::AES256_CTR];

/// Added in two steps because deployed clients predict the draws in that order.
pub(super) const NEW_SERVER_KEX_FIRST: &[&str] =
    &[n::CURVE25519_SHA256, n::DH_GROUP16_SHA512, n::KEX_STRICT_S];
pub(super) const NEW_SERVER_KEX_SECOND: &[&str] = &[n::DH_GEX_SHA256, n::MLKEM768X25519_SHA256];
pub(super) const NEW_SERVER_CIPHERS: &[&str] = &[n::AES256_GCM];

pub(super) const GOOD_KEX: &[&str] = &[
    n::CURVE25519_SHA256_LIBSSH,
    n::CURVE25519_SHA256,
    n::ECDH_NISTP256,
    n::ECDH_NISTP384,
    n::ECDH_NISTP521,
    n::DH_GROUP14_SHA256,
    n::DH_GROUP16_SHA512,
    n::DH_GEX_SHA256,
    n::MLKEM768X25519_SHA256,
];
pub(super) const GOOD_MACS: &[&str] =
    &[n::HMAC_SHA256, n::HMAC_SHA512, n::HMAC_SHA256_ETM, n::HMAC_SHA512_ETM];
pub(super) const GOOD_HOST_KEYS: &[&str] = &[n::RSA_SHA256, n::RSA_SHA512];

pub(super) const COMPRESSION_OFF: &[&str] = &[n::COMPRESSION_NONE];
pub(super) const COMPRESSION_OFFERED: &[&str] = &[n::COMPRESSION_NONE, n::COMPRESSION_ZLIB_OPENSSH];

/// The MAC lists of one kind of protocol.
pub(super) struct MacLists {
    pub(super) all: &'static [&'static str],
    pub(super) legacy_server: &'static [&'static str],
    pub(super) new_server: &'static [&'static str],
}

const MACS: MacLists = MacLists {
    all: &[
        n::HMAC_SHA256_ETM,
        n::HMAC_SHA512_ETM,
        n::HMAC_SHA256,
        n::HMAC_SHA512,
        n::HMAC_SHA1,
        n::HMAC_SHA1_96,
    ],
    legacy_server: &[n::HMAC_SHA256_ETM, n::HMAC_SHA256, n::HMAC_SHA1, n::HMAC_SHA1_96],
    new_server: &[n::HMAC_SHA512_ETM, n::HMAC_SHA512],
};

const MACS_WITHOUT_ETM: MacLists = MacLists {
    all: &[n::HMAC_SHA256, n::HMAC_SHA512, n::HMAC_SHA1, n::HMAC_SHA1_96],
    legacy_server: &[n::HMAC_SHA256, n::HMAC_SHA1, n::HMAC_SHA1_96],
    new_server: &[n::HMAC_SHA512],
};

/// The MACs in use; without encrypt-then-MAC the packet length is never in clear.
pub(super) const fn macs(no_encrypt_then_mac: bool) -> &'static MacLists {
    if no_encrypt_then_mac { &MACS_WITHOUT_ETM } else { &MACS }
}
