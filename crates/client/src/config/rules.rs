//! Rules between fields of the config: what needs what, what excludes what. Not the fields themselves: see
//! `build.rs`.
//!
//! Source: the combinations that the reference refuses at start.

use super::problem::Fault;
use super::read::Fields;

/// When the first field is set, the second must be too.
const NEEDS: &[(&str, &str)] = &[
    ("RemoteServerListURLs", "RemoteServerListSignaturePublicKey"),
    ("RemoteServerListUrl", "RemoteServerListSignaturePublicKey"),
    ("ObfuscatedServerListRootURLs", "RemoteServerListSignaturePublicKey"),
    ("ObfuscatedServerListRootURL", "RemoteServerListSignaturePublicKey"),
    ("EnableUpgradeDownload", "UpgradeDownloadURLs"),
    ("EnableUpgradeDownload", "UpgradeDownloadClientVersionHeader"),
    ("EnableFeedbackUpload", "FeedbackUploadURLs"),
    ("EnableFeedbackUpload", "FeedbackEncryptionPublicKey"),
];

/// A list fetch that is switched off needs no key.
const UNLESS: &[(&str, &str)] = &[
    ("RemoteServerListURLs", "DisableRemoteServerListFetcher"),
    ("RemoteServerListUrl", "DisableRemoteServerListFetcher"),
    ("ObfuscatedServerListRootURLs", "DisableRemoteServerListFetcher"),
    ("ObfuscatedServerListRootURL", "DisableRemoteServerListFetcher"),
];

/// The deprecated name that also satisfies a need.
const ALSO: &[(&str, &str)] = &[("UpgradeDownloadURLs", "UpgradeDownloadUrl")];

pub(super) fn check(fields: &mut Fields<'_>) {
    for &(field, other) in NEEDS {
        let excused = UNLESS.iter().any(|(name, switch)| *name == field && fields.is_set(switch));
        let met = fields.is_set(other)
            || ALSO.iter().any(|(name, deprecated)| *name == other && fields.is_set(deprecated));
        if fields.is_set(field) && !met && !excused {
            fields.fault(field, Fault::Requires { other });
        }
    }
    if fields.is_set("EnableLightProxyFallback")
        && fields.is_set("DisableLocalSocksProxy")
        && fields.is_set("DisableLocalHTTPProxy")
    {
        let other = "DisableLocalSocksProxy and DisableLocalHTTPProxy";
        fields.fault("EnableLightProxyFallback", Fault::Excludes { other });
    }
}
