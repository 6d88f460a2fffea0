//! Parameters of lists that are loaded: of servers, and of newer clients; and of feedback that is sent.

use std::time::Duration;

use super::declare::{HOUR, MILLISECOND, MINUTE, SECOND, YEAR, parameters};
use super::{ScaledDuration, TransferUrl};

parameters! {
    /// Lists of servers, one for all or many that only some can open.
    pub struct RemoteLists {
        /// Where the list of servers for all is.
        urls: Vec<TransferUrl> = Vec::new(), "RemoteServerListURLs";
        /// What signs the lists: an RSA key in base64.
        signature_public_key: String = String::new(), "RemoteServerListSignaturePublicKey";
        /// Where the directory of lists is that only some can open.
        obfuscated_root_urls: Vec<TransferUrl> = Vec::new(), "ObfuscatedServerListRootURLs";
        /// Longest time for loading a list of servers.
        fetch_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(30)), within SECOND..=YEAR, "FetchRemoteServerListTimeout";
        /// Pause before a list of servers is loaded again when that failed.
        fetch_retry_period: Duration = Duration::from_secs(30), within MILLISECOND..=YEAR, "FetchRemoteServerListRetryPeriod";
        /// For how long a list of servers that was loaded is not asked for again.
        fetch_stale_period: Duration = HOUR.saturating_mul(6), within HOUR..=YEAR, "FetchRemoteServerListStalePeriod";
    }
}

parameters! {
    /// Newer clients.
    pub struct Upgrade {
        /// Where the newest client is.
        urls: Vec<TransferUrl> = Vec::new(), "UpgradeDownloadURLs";
        /// Which header of the response says its version.
        client_version_header: String = String::new(), "UpgradeDownloadClientVersionHeader";
        /// Longest time for loading a newer client.
        fetch_timeout: ScaledDuration = ScaledDuration::new(MINUTE), within SECOND..=YEAR, "FetchUpgradeTimeout";
        /// Pause before a newer client is loaded again when that failed.
        fetch_retry_period: Duration = Duration::from_secs(30), within MILLISECOND..=YEAR, "FetchUpgradeRetryPeriod";
        /// For how long a newer client that was loaded is not asked for again.
        fetch_stale_period: Duration = HOUR.saturating_mul(6), within HOUR..=YEAR, "FetchUpgradeStalePeriod";
    }
}

parameters! {
    /// Reports that a person sends.
    pub struct Feedback {
        /// Where feedback goes.
        upload_urls: Vec<TransferUrl> = Vec::new(), "FeedbackUploadURLs";
        /// Whom they are encrypted for: an RSA key in base64.
        encryption_public_key: String = String::new(), "FeedbackEncryptionPublicKey";
        /// How long to wait for tactics before the first attempt.
        tactics_wait_period: ScaledDuration = ScaledDuration::new(Duration::from_secs(5)), within Duration::ZERO..=YEAR, "FeedbackTacticsWaitPeriod";
        /// How often sending feedback is tried.
        upload_max_attempts: u32 = 5, within 0..=1000, "FeedbackUploadMaxAttempts";
        /// Shortest pause between two attempts.
        upload_retry_min_delay: ScaledDuration = ScaledDuration::new(MINUTE), within Duration::ZERO..=YEAR, "FeedbackUploadRetryMinDelaySeconds";
        /// Longest pause between two attempts.
        upload_retry_max_delay: ScaledDuration = ScaledDuration::new(Duration::from_secs(300)), within SECOND..=YEAR, "FeedbackUploadRetryMaxDelaySeconds";
        /// Longest time for one attempt to send feedback.
        upload_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(30)), within Duration::ZERO..=YEAR, "FeedbackUploadTimeoutSeconds";
    }
    ordered { upload_retry_min_delay <= upload_retry_max_delay }
}
