//! The members of a server entry that are known: name, kind, and place in the packed form. One table for all uses.
//!
//! Members that are not here are kept and signed like any other. PROTOCOL.md 5.2, 5.5.

use crate::packed::Converter;
use Converter::{AsIs, Base64, Base64Unpadded, Int as IntText, LowerHex, UpperHex};
use FieldKind::{Flag, Int, Port, Secret, Text, TextList};

/// What the JSON value of a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A string that may be shown to the user who owns the entry.
    Text,
    /// A string that lets its holder in: never printed, wiped when dropped.
    Secret,
    /// A list of strings.
    TextList,
    /// An integer from 1 to 65535; 0 is the same as absent.
    Port,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Flag,
}

/// One known member.
#[derive(Debug)]
pub struct Field {
    /// The JSON name.
    pub name: &'static str,
    /// What its value is.
    pub kind: FieldKind,
    /// Its integer key and conversion in the packed form; none for members that travel there under their name.
    pub packed: Option<(i64, Converter)>,
}

/// The known members in the order in which the reference writes them.
#[rustfmt::skip]
pub static FIELDS: [Field; 52] = [
    field("tag", Text, 1, Base64),
    field("ipAddress", Text, 2, AsIs),
    field("webServerPort", Text, 3, IntText),
    field("webServerSecret", Secret, 4, LowerHex),
    field("webServerCertificate", Text, 5, AsIs),
    field("sshPort", Port, 6, AsIs),
    field("sshUsername", Secret, 7, AsIs),
    field("sshPassword", Secret, 8, LowerHex),
    field("sshHostKey", Text, 9, Base64),
    field("sshObfuscatedPort", Port, 10, AsIs),
    field("sshObfuscatedQUICPort", Port, 11, AsIs),
    field("limitQUICVersions", TextList, 12, AsIs),
    field("sshObfuscatedTapdancePort", Port, 13, AsIs),
    field("sshObfuscatedConjurePort", Port, 14, AsIs),
    field("sshObfuscatedKey", Secret, 15, LowerHex),
    unpacked("sshShadowsocksPort", Port),
    unpacked("sshShadowsocksKey", Secret),
    field("capabilities", TextList, 16, AsIs),
    field("region", Text, 17, AsIs),
    field("providerID", Text, 18, UpperHex),
    field("frontingProviderID", Text, 19, UpperHex),
    field("tlsOSSHPort", Port, 20, AsIs),
    field("meekServerPort", Port, 21, AsIs),
    field("meekCookieEncryptionPublicKey", Text, 22, Base64),
    field("meekObfuscatedKey", Secret, 23, LowerHex),
    field("meekFrontingHost", Text, 24, AsIs),
    field("meekFrontingHosts", TextList, 25, AsIs),
    field("meekFrontingDomain", Text, 26, AsIs),
    field("meekFrontingAddresses", TextList, 27, AsIs),
    field("meekFrontingAddressesRegex", Text, 28, AsIs),
    field("meekFrontingDisableSNI", Flag, 29, AsIs),
    field("tacticsRequestPublicKey", Text, 30, Base64),
    field("tacticsRequestObfuscatedKey", Secret, 31, Base64),
    field("configurationVersion", Int, 32, AsIs),
    field("signature", Text, 33, Base64),
    field("disableHTTPTransforms", Flag, 34, AsIs),
    field("disableObfuscatedQUICTransforms", Flag, 35, AsIs),
    field("disableOSSHTransforms", Flag, 36, AsIs),
    field("disableOSSHPrefix", Flag, 37, AsIs),
    unpacked("disableShadowsocksPrefix", Flag),
    field("inproxySessionPublicKey", Text, 38, Base64Unpadded),
    field("inproxySessionRootObfuscationSecret", Secret, 39, Base64Unpadded),
    field("inproxySSHPort", Port, 40, AsIs),
    field("inproxyOSSHPort", Port, 41, AsIs),
    field("inproxyQUICPort", Port, 42, AsIs),
    field("inproxyMeekPort", Port, 43, AsIs),
    field("inproxyTlsOSSHPort", Port, 44, AsIs),
    unpacked("inproxyShadowsocksPort", Port),
    field("allowUpstreamProxy", Flag, 48, AsIs),
    field("localSource", Text, 45, AsIs),
    field("localTimestamp", Text, 46, AsIs),
    field("isLocalDerivedTag", Flag, 47, AsIs),
];

/// The row of a member.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// The row of a packed key.
#[must_use]
pub fn by_key(key: i64) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.packed.is_some_and(|(k, _)| k == key))
}

const fn field(name: &'static str, kind: FieldKind, key: i64, converter: Converter) -> Field {
    Field { name, kind, packed: Some((key, converter)) }
}

const fn unpacked(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, packed: None }
}
