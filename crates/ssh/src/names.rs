//! Algorithm names: one table of every name that may be offered, and the closed sets that may be used.
//!
//! Source: PROTOCOL.md 3.3.1 and 3.3.3. Which names go into an offer is decided in [`crate::kexinit`].
//! A name can be offered without being usable (SHA-1, certificates, group exchange): it then has a constant
//! here and no enum variant.

macro_rules! wire_names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+
        /// Every name above.
        const ALL: &[&str] = &[$($constant),+];
    };
}

/// The wire names.
#[expect(missing_docs, reason = "each constant is its value")]
pub mod wire_name {
    wire_names! {
        MLKEM768X25519_SHA256 = "mlkem768x25519-sha256";
        CURVE25519_SHA256 = "curve25519-sha256";
        CURVE25519_SHA256_LIBSSH = "curve25519-sha256@libssh.org";
        ECDH_NISTP256 = "ecdh-sha2-nistp256";
        ECDH_NISTP384 = "ecdh-sha2-nistp384";
        ECDH_NISTP521 = "ecdh-sha2-nistp521";
        DH_GROUP14_SHA256 = "diffie-hellman-group14-sha256";
        DH_GROUP16_SHA512 = "diffie-hellman-group16-sha512";
        DH_GROUP14_SHA1 = "diffie-hellman-group14-sha1";
        DH_GEX_SHA256 = "diffie-hellman-group-exchange-sha256";

        EXT_INFO_C = "ext-info-c";
        KEX_STRICT_C = "kex-strict-c-v00@openssh.com";
        KEX_STRICT_S = "kex-strict-s-v00@openssh.com";

        AES128_GCM = "aes128-gcm@openssh.com";
        AES256_GCM = "aes256-gcm@openssh.com";
        CHACHA20_POLY1305 = "chacha20-poly1305@openssh.com";
        AES128_CTR = "aes128-ctr";
        AES192_CTR = "aes192-ctr";
        AES256_CTR = "aes256-ctr";

        HMAC_SHA256_ETM = "hmac-sha2-256-etm@openssh.com";
        HMAC_SHA512_ETM = "hmac-sha2-512-etm@openssh.com";
        HMAC_SHA256 = "hmac-sha2-256";
        HMAC_SHA512 = "hmac-sha2-512";
        HMAC_SHA1 = "hmac-sha1";
        HMAC_SHA1_96 = "hmac-sha1-96";

        RSA_SHA256_CERT = "rsa-sha2-256-cert-v01@openssh.com";
        RSA_SHA512_CERT = "rsa-sha2-512-cert-v01@openssh.com";
        SSH_RSA_CERT = "ssh-rsa-cert-v01@openssh.com";
        SSH_DSS_CERT = "ssh-dss-cert-v01@openssh.com";
        ECDSA_NISTP256_CERT = "ecdsa-sha2-nistp256-cert-v01@openssh.com";
        ECDSA_NISTP384_CERT = "ecdsa-sha2-nistp384-cert-v01@openssh.com";
        ECDSA_NISTP521_CERT = "ecdsa-sha2-nistp521-cert-v01@openssh.com";
        SSH_ED25519_CERT = "ssh-ed25519-cert-v01@openssh.com";
        ECDSA_NISTP256 = "ecdsa-sha2-nistp256";
        ECDSA_NISTP384 = "ecdsa-sha2-nistp384";
        ECDSA_NISTP521 = "ecdsa-sha2-nistp521";
        RSA_SHA256 = "rsa-sha2-256";
        RSA_SHA512 = "rsa-sha2-512";
        SSH_RSA = "ssh-rsa";
        SSH_DSS = "ssh-dss";
        SSH_ED25519 = "ssh-ed25519";

        COMPRESSION_NONE = "none";
        COMPRESSION_ZLIB_OPENSSH = "zlib@openssh.com";
    }

    /// The constant equal to `name`, so that a peer's list of known names costs no allocation.
    #[must_use]
    pub fn known(name: &str) -> Option<&'static str> {
        ALL.iter().copied().find(|known| *known == name)
    }
}

use wire_name as n;

/// A hash of a key exchange method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KexHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl KexHash {
    /// Output length in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn algorithm(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

/// Key exchange methods that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KexName {
    /// ML-KEM-768 with X25519, draft-ietf-sshm-mlkem-hybrid-kex.
    MlKem768X25519Sha256,
    /// X25519, RFC 8731, under either of its two names.
    Curve25519Sha256,
    /// ECDH on P-256, RFC 5656.
    EcdhNistp256,
    /// ECDH on P-384, RFC 5656.
    EcdhNistp384,
    /// ECDH on P-521, RFC 5656.
    EcdhNistp521,
    /// 2048-bit MODP, RFC 8268.
    DhGroup14Sha256,
    /// 4096-bit MODP, RFC 8268.
    DhGroup16Sha512,
}

impl KexName {
    /// Every method, most preferred first.
    pub const ALL: [Self; 7] = [
        Self::MlKem768X25519Sha256,
        Self::Curve25519Sha256,
        Self::EcdhNistp256,
        Self::EcdhNistp384,
        Self::EcdhNistp521,
        Self::DhGroup14Sha256,
        Self::DhGroup16Sha512,
    ];

    /// The usable method called `name`, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == n::CURVE25519_SHA256_LIBSSH {
            return Some(Self::Curve25519Sha256);
        }
        Self::ALL.into_iter().find(|kex| kex.wire_name() == name)
    }

    /// The standard name.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::MlKem768X25519Sha256 => n::MLKEM768X25519_SHA256,
            Self::Curve25519Sha256 => n::CURVE25519_SHA256,
            Self::EcdhNistp256 => n::ECDH_NISTP256,
            Self::EcdhNistp384 => n::ECDH_NISTP384,
            Self::EcdhNistp521 => n::ECDH_NISTP521,
            Self::DhGroup14Sha256 => n::DH_GROUP14_SHA256,
            Self::DhGroup16Sha512 => n::DH_GROUP16_SHA512,
        }
    }

    /// True for arithmetic modulo a large prime, which takes many times as long as all others.
    #[must_use]
    pub const fn is_modp(self) -> bool {
        matches!(self, Self::DhGroup14Sha256 | Self::DhGroup16Sha512)
    }

    /// The hash of the exchange and of key derivation.
    #[must_use]
    pub const fn hash(self) -> KexHash {
        match self {
            Self::MlKem768X25519Sha256
            | Self::Curve25519Sha256
            | Self::EcdhNistp256
            | Self::DhGroup14Sha256 => KexHash::Sha256,
            // RFC 5656 section 6.2.1.
            Self::EcdhNistp384 => KexHash::Sha384,
            Self::EcdhNistp521 | Self::DhGroup16Sha512 => KexHash::Sha512,
        }
    }
}

/// Ciphers that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherName {
    /// AES-128 in GCM, RFC 5647 as OpenSSH negotiates it.
    Aes128Gcm,
    /// AES-256 in GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305 as in OpenSSH's PROTOCOL.chacha20poly1305.
    ChaCha20Poly1305,
    /// AES-128 counter mode, RFC 4344.
    Aes128Ctr,
    /// AES-192 counter mode.
    Aes192Ctr,
    /// AES-256 counter mode.
    Aes256Ctr,
}

impl CipherName {
    /// Every cipher, most preferred first.
    pub const ALL: [Self; 6] = [
        Self::Aes128Gcm,
        Self::Aes256Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes128Ctr,
        Self::Aes192Ctr,
        Self::Aes256Ctr,
    ];

    /// The usable cipher called `name`, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.wire_name() == name)
    }

    /// The name in offers.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => n::AES128_GCM,
            Self::Aes256Gcm => n::AES256_GCM,
            Self::ChaCha20Poly1305 => n::CHACHA20_POLY1305,
            Self::Aes128Ctr => n::AES128_CTR,
            Self::Aes192Ctr => n::AES192_CTR,
            Self::Aes256Ctr => n::AES256_CTR,
        }
    }

    /// AES in Galois counter mode.
    #[must_use]
    pub const fn is_aes_gcm(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes256Gcm)
    }

    /// True if the cipher authenticates by itself, so that no MAC is negotiated.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305)
    }

    /// Key length in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ctr => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Gcm | Self::Aes256Ctr => 32,
            // Two keys: packet lengths have their own.
            Self::ChaCha20Poly1305 => 64,
        }
    }

    /// Length in bytes of the derived initialization vector.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            // RFC 5647 section 7.1.
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
            Self::ChaCha20Poly1305 => 0,
            Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr => 16,
        }
    }

    /// The multiple that packets are padded to, in bytes (RFC 4253 section 6).
    #[must_use]
    pub const fn block_size(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => 8,
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr => 16,
        }
    }

    /// Bytes in one direction after which new keys are due.
    #[must_use]
    pub const fn rekey_bytes(self) -> u64 {
        match self {
            // RFC 4253 section 9.
            Self::ChaCha20Poly1305 => 1 << 30,
            // RFC 4344 section 3.2: 2^32 blocks of 16 bytes.
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr => {
                1 << 36
            }
        }
    }
}

/// Message authentication codes that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacName {
    /// HMAC-SHA-256 over the plaintext, RFC 6668.
    HmacSha256,
    /// HMAC-SHA-512 over the plaintext, RFC 6668.
    HmacSha512,
    /// HMAC-SHA-256 over the ciphertext, OpenSSH PROTOCOL section 1.5.
    HmacSha256Etm,
    /// HMAC-SHA-512 over the ciphertext, OpenSSH PROTOCOL section 1.5.
    HmacSha512Etm,
}

impl MacName {
    /// Every MAC, most preferred first.
    pub const ALL: [Self; 4] = [Self::HmacSha256Etm, Self::HmacSha512Etm, Self::HmacSha256, Self::HmacSha512];

    /// The usable MAC called `name`, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mac| mac.wire_name() == name)
    }

    /// The name in offers.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::HmacSha256 => n::HMAC_SHA256,
            Self::HmacSha512 => n::HMAC_SHA512,
            Self::HmacSha256Etm => n::HMAC_SHA256_ETM,
            Self::HmacSha512Etm => n::HMAC_SHA512_ETM,
        }
    }

    /// True if the code covers the ciphertext and the packet length travels in clear.
    #[must_use]
    pub const fn is_etm(self) -> bool {
        matches!(self, Self::HmacSha256Etm | Self::HmacSha512Etm)
    }

    /// Key length in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256 | Self::HmacSha256Etm => 32,
            Self::HmacSha512 | Self::HmacSha512Etm => 64,
        }
    }

    /// Code length in bytes; nothing is truncated (RFC 6668 section 2).
    #[must_use]
    pub const fn tag_len(self) -> usize {
        self.key_len()
    }
}

/// Host key signature algorithms that may be used: never SHA-1 and never certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyAlgorithm {
    /// RSA PKCS#1 v1.5 with SHA-256, RFC 8332.
    RsaSha256,
    /// RSA PKCS#1 v1.5 with SHA-512, RFC 8332.
    RsaSha512,
    /// ECDSA on P-256 with SHA-256, RFC 5656.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384, RFC 5656.
    EcdsaP384,
    /// ECDSA on P-521 with SHA-512, RFC 5656.
    EcdsaP521,
    /// Ed25519, RFC 8709.
    Ed25519,
}

impl HostKeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] =
        [Self::RsaSha256, Self::RsaSha512, Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::Ed25519];

    /// The usable algorithm called `name`, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.wire_name() == name)
    }

    /// The name in offers and in signature blobs.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::RsaSha256 => n::RSA_SHA256,
            Self::RsaSha512 => n::RSA_SHA512,
            Self::EcdsaP256 => n::ECDSA_NISTP256,
            Self::EcdsaP384 => n::ECDSA_NISTP384,
            Self::EcdsaP521 => n::ECDSA_NISTP521,
            Self::Ed25519 => n::SSH_ED25519,
        }
    }

    /// The name in public key blobs; it differs for RSA (RFC 8332 section 3).
    #[must_use]
    pub const fn key_format(self) -> &'static str {
        match self {
            Self::RsaSha256 | Self::RsaSha512 => n::SSH_RSA,
            other => other.wire_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        assert!(KexName::ALL.iter().all(|name| KexName::parse(name.wire_name()) == Some(*name)));
        assert!(CipherName::ALL.iter().all(|name| CipherName::parse(name.wire_name()) == Some(*name)));
        assert!(MacName::ALL.iter().all(|name| MacName::parse(name.wire_name()) == Some(*name)));
        assert!(
            HostKeyAlgorithm::ALL.iter().all(|name| HostKeyAlgorithm::parse(name.wire_name()) == Some(*name))
        );
        assert_eq!(KexName::parse("curve25519-sha256@libssh.org"), Some(KexName::Curve25519Sha256));
    }

    #[test]
    fn offered_but_unusable_names_do_not_parse() {
        for name in [n::DH_GROUP14_SHA1, n::DH_GEX_SHA256, n::EXT_INFO_C, n::KEX_STRICT_C, n::KEX_STRICT_S] {
            assert_eq!(KexName::parse(name), None, "{name}");
        }
        for name in [n::HMAC_SHA1, n::HMAC_SHA1_96] {
            assert_eq!(MacName::parse(name), None, "{name}");
        }
        for name in [n::SSH_RSA, n::SSH_DSS, n::RSA_SHA256_CERT, n::SSH_ED25519_CERT] {
            assert_eq!(HostKeyAlgorithm::parse(name), None, "{name}");
        }
    }
}
