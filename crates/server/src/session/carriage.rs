//! How a tunnel's bytes were carried, as far as it is reported: pieces that the first of them were cut into, the requests of a meek session, the
//! site that strangers see. Field names are the reference's. No client's address gets here.

use std::sync::Arc;
use std::time::Duration;

use culvert_transport::fragmentor::Cuts;
use culvert_transport::meek::server::Session;
use serde_json::{Map, Value as Json};

/// What is known of a connection below SSH.
#[derive(Clone, Default)]
pub(crate) struct Carriage {
    /// Counts pieces, where there are some. Of a meek session these are its first connection's.
    pub(crate) cuts: Option<Arc<Cuts>>,
    /// Whether the pieces follow from what another connection did, or from what the client has sent.
    pub(crate) follows: bool,
    /// The session, where requests carry the tunnel.
    pub(crate) meek: Option<Arc<Session>>,
}

impl Carriage {
    /// What a tunnel's event says of it. `site` is what strangers see at the port.
    pub(super) fn fields(&self, site: Option<&str>) -> Map<String, Json> {
        let mut fields = Map::new();
        self.add_pieces(&mut fields);
        if let Some(session) = &self.meek {
            add_session(&mut fields, session);
        }
        fields.extend(site.map(|site| ("passthrough_address".to_owned(), site.into())));
        fields.insert("server_replay_fragmentation".into(), self.follows.into());
        // This server does not change packets below TCP.
        fields.insert("server_replay_packet_manipulation".into(), false.into());
        fields
    }

    fn add_pieces(&self, fields: &mut Map<String, Json>) {
        let Some(counts) = self.cuts.as_ref().and_then(|cuts| cuts.counts()) else { return };
        let microseconds = |delay: Duration| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let [least, most] = counts.sizes;
        let [shortest, longest] = counts.delays.map(microseconds);
        let numbers = [
            ("downstream_bytes_fragmented", counts.bytes),
            ("downstream_min_bytes_written", least),
            ("downstream_max_bytes_written", most),
            ("downstream_min_delayed", shortest),
            ("downstream_max_delayed", longest),
        ];
        fields.extend(numbers.map(|(name, number)| (name.to_owned(), number.into())));
    }
}

fn add_session(fields: &mut Map<String, Json>, session: &Session) {
    let (beginning, counts) = (session.beginning(), session.counts());
    let numbers = [
        ("meek_client_retries", counts.retries),
        ("meek_peak_response_size", counts.largest_response),
        // No response is longer than what is kept of it.
        ("meek_peak_cached_response_size", counts.largest_response),
        ("meek_peak_cached_response_hit_size", counts.largest_again),
        ("meek_cached_response_miss_position", counts.missed_position),
        ("meek_underlying_connection_count", counts.connections),
    ];
    fields.extend(numbers.map(|(name, number)| (name.to_owned(), number.into())));
    let texts = [
        ("meek_cookie_name", &beginning.cookie_name),
        ("meek_content_type", &beginning.content_type),
        ("meek_server_http_version", &beginning.version),
    ];
    fields.extend(texts.map(|(name, text)| (name.to_owned(), text.as_str().into())));
    fields.insert("meek_payload_padding".into(), session.pads_payload().into());
}
