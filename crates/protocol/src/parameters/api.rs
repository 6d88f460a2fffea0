//! Parameters of what clients tell servers in API requests, and of what is kept to be told. PROTOCOL.md 3.6.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::declare::{HOUR, MILLISECOND, MINUTE, SECOND, YEAR, parameters};
use super::{Probability, ScaledDuration};

/// Most padding of an API request.
const MOST_PADDING: u32 = 65_536;
/// Most bytes of reports in a request.
const MOST_SEND_BYTES: u32 = 1 << 20;
/// Most reports that are kept.
const MOST_RECORDS: u32 = 100_000;

parameters! {
    /// When requests are made, and how long they may take.
    pub struct Api {
        /// How long a request waits for its answer.
        request_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(10)), within SECOND..=YEAR, "PsiphonAPIRequestTimeout";
        /// Pause before it is said again that we are connected, when that failed.
        connected_request_retry_period: Duration = Duration::from_secs(5), within MILLISECOND..=YEAR, "PsiphonAPIConnectedRequestRetryPeriod";
        /// Shortest time between two status requests.
        status_request_period_min: Duration = Duration::from_secs(300), within SECOND..=YEAR, "PsiphonAPIStatusRequestPeriodMin";
        /// Longest time between two status requests.
        status_request_period_max: Duration = Duration::from_secs(600), within SECOND..=YEAR, "PsiphonAPIStatusRequestPeriodMax";
        /// Shortest time before one that has something to tell.
        status_request_short_period_min: Duration = Duration::from_secs(5), within SECOND..=YEAR, "PsiphonAPIStatusRequestShortPeriodMin";
        /// Longest time before one that has something to tell.
        status_request_short_period_max: Duration = Duration::from_secs(10), within SECOND..=YEAR, "PsiphonAPIStatusRequestShortPeriodMax";
        /// Least padding of a status request, in bytes.
        status_request_padding_min_bytes: u32 = 0, within 0..=MOST_PADDING, "PsiphonAPIStatusRequestPaddingMinBytes";
        /// Most padding of a status request.
        status_request_padding_max_bytes: u32 = 256, within 0..=MOST_PADDING, "PsiphonAPIStatusRequestPaddingMaxBytes";
        /// Whether the server's patterns for counting bytes by site are not used.
        ignore_handshake_stats_regexps: bool = false, "IgnoreHandshakeStatsRegexps";
        /// How often the total of bytes is told to the host of this client.
        total_bytes_notice_period: Duration = Duration::from_secs(300), within SECOND..=YEAR, "TotalBytesTransferredNoticePeriod";
        /// Whether memory in use is told with it.
        total_bytes_memory_metrics: bool = true, "TotalBytesTransferredEmitMemoryMetrics";
        /// Values for the application that this client is part of; handed to it as they are.
        application_parameters: BTreeMap<String, Json> = BTreeMap::new(), "ApplicationParameters";
    }
    ordered {
        status_request_period_min <= status_request_period_max,
        status_request_short_period_min <= status_request_short_period_max,
        status_request_padding_min_bytes <= status_request_padding_max_bytes,
    }
}

parameters! {
    /// Reports that wait for a tunnel.
    pub struct Statistics {
        /// Most reports in a status request.
        max_count: u32 = 100, within 1..=MOST_RECORDS, "PsiphonAPIPersistentStatsMaxCount";
        /// Most reports that are kept.
        max_store_records: u32 = 200, within 1..=MOST_RECORDS, "PersistentStatsMaxStoreRecords";
        /// Most bytes of reports in a status request.
        max_send_bytes: u32 = 65_536, within 1..=MOST_SEND_BYTES, "PersistentStatsMaxSendBytes";
        /// How likely a list of servers that was loaded is reported.
        remote_server_list_probability: Probability = Probability::ALWAYS, "RecordRemoteServerListPersistentStatsProbability";
        /// How likely a tunnel that failed is reported.
        failed_tunnel_probability: Probability = Probability::NEVER, "RecordFailedTunnelPersistentStatsProbability";
    }
}

parameters! {
    /// Asking the server whether entries are still of use.
    pub struct CheckTags {
        /// Whether the server is asked which entries are of no more use.
        enabled: bool = true, "CheckServerEntryTagsEnabled";
        /// How often it is asked on each network.
        period: Duration = HOUR.saturating_mul(90 * 24), within Duration::ZERO..=YEAR, "CheckServerEntryTagsPeriod";
        /// It is asked again at once when such a part of the entries was of no more use.
        repeat_ratio: f64 = 0.1, within 0.0..=1.0, "CheckServerEntryTagsRepeatRatio";
        /// And when so many entries were of no more use.
        repeat_minimum: u32 = 1, within 0..=MOST_RECORDS, "CheckServerEntryTagsRepeatMinimum";
        /// Most bytes of tags in a request.
        max_send_bytes: u32 = 65_536, within 1..=MOST_SEND_BYTES, "CheckServerEntryTagsMaxSendBytes";
        /// Longest time for choosing the tags.
        max_work_time: Duration = MINUTE, within Duration::ZERO..=YEAR, "CheckServerEntryTagsMaxWorkTime";
    }
}

parameters! {
    /// Times of answers, by which tactics may be chosen. PROTOCOL.md 6.4.5.
    pub struct SpeedTest {
        /// Least padding of a test, in bytes.
        padding_min_bytes: u32 = 0, within 0..=MOST_PADDING, "SpeedTestPaddingMinBytes";
        /// Most padding of a test.
        padding_max_bytes: u32 = 256, within 0..=MOST_PADDING, "SpeedTestPaddingMaxBytes";
        /// How many samples are kept for a network.
        max_sample_count: u32 = 5, within 1..=1000, "SpeedTestMaxSampleCount";
    }
    ordered { padding_min_bytes <= padding_max_bytes }
}
