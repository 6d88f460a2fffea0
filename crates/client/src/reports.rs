//! What a tunnel is used to tell its server: that it is in use, and what was stored because there was no tunnel then.
//! Also how such a record is made. PROTOCOL.md 4.6, 4.7.

use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::api::{DialParams, NEVER_CONNECTED, StatusData};
use culvert_protocol::packed::Params;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::server_entry::Tag;
use culvert_protocol::timestamp::to_hour;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::notice::{Notice, Notices, without_addresses};
use crate::randomness::random;
use crate::store::{Pruned, StatKind, Store, Taken};
use crate::tunnel::{ApiClient, base_params};

/// Between two successful `psiphon-connected` on a long-lived tunnel. PROTOCOL.md 4.6.
const CONNECTED_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// More tags in one reply are not looked at.
const MOST_PRUNED: usize = 1_000;

/// Speaks for one tunnel.
pub(crate) struct Reporter<'a> {
    pub(crate) api: ApiClient,
    pub(crate) store: &'a Store,
    pub(crate) notices: &'a Notices,
    pub(crate) parameters: &'a Parameters,
    /// How long it took to get the tunnel.
    pub(crate) establishment: Duration,
}

impl Reporter<'_> {
    /// Reports for as long as the tunnel is up. Never returns.
    pub(crate) async fn run(mut self) {
        let mut prng = Prng::new(&Seed::from_bytes(random()));
        let mut connected = Instant::now();
        let mut status = Instant::now() + self.first_status(&mut prng);
        loop {
            if connected <= status {
                sleep_until(connected).await;
                connected = Instant::now() + self.connected().await;
            } else {
                sleep_until(status).await;
                self.status().await;
                let api = &self.parameters.api;
                status = Instant::now()
                    + prng.period(api.status_request_period_min, api.status_request_period_max);
            }
        }
    }

    /// What waits already is told soon.
    fn first_status(&self, prng: &mut Prng) -> Duration {
        let api = &self.parameters.api;
        match self.store.waiting_stats() {
            0 => prng.period(api.status_request_period_min, api.status_request_period_max),
            _ => prng.period(api.status_request_short_period_min, api.status_request_short_period_max),
        }
    }

    /// Tells that the tunnel is in use; gives back when to do it again.
    async fn connected(&mut self) -> Duration {
        let last = self.store.last_connected();
        match self.api.connected(last.as_deref(), self.establishment).await {
            Ok(reply) => {
                self.store.set_last_connected(&reply.connected_timestamp);
                CONNECTED_PERIOD
            }
            Err(error) => {
                self.notices.info(format!("psiphon-connected: {error}"));
                self.parameters.api.connected_request_retry_period
            }
        }
    }

    /// Tells what is stored, if there is anything, and removes servers that are no more.
    async fn status(&mut self) {
        let most = usize::try_from(self.parameters.statistics.max_send_bytes).unwrap_or(usize::MAX);
        let taken = InFlight { store: self.store, taken: Some(self.store.take_stats(most)) };
        if taken.is_empty() {
            return;
        }
        match self.api.status(taken.data()).await {
            Ok(reply) => {
                taken.arrived();
                self.prune(reply.invalid_server_entry_tags).await;
            }
            Err(error) => self.notices.info(format!("psiphon-status: {error}")),
        }
    }

    async fn prune(&self, tags: Vec<String>) {
        let (store, notices) = (self.store.clone(), self.notices.clone());
        let least_age = self.parameters.establish.minimum_age_for_pruning;
        let pruning = spawn_blocking(move || {
            for tag in tags.into_iter().take(MOST_PRUNED) {
                match store.prune(&Tag::explicit(&tag), least_age) {
                    Ok(Pruned::Removed) => notices.emit(Notice::PruneServerEntry { server_entry_tag: tag }),
                    Ok(Pruned::TooYoung | Pruned::Unknown) => {}
                    Err(error) => notices.warning(format!("removing a server: {error}")),
                }
            }
        });
        if pruning.await.is_err() {
            self.notices.error("bug: removing servers panicked");
        }
    }
}

/// Reports in a request, which wait again unless it is answered, also when the tunnel ends meanwhile.
struct InFlight<'a> {
    store: &'a Store,
    taken: Option<Taken>,
}

impl InFlight<'_> {
    fn is_empty(&self) -> bool {
        self.taken.as_ref().is_none_or(Taken::is_empty)
    }

    fn data(&self) -> StatusData {
        let mut data = StatusData::default();
        for (kind, json) in self.taken.iter().flat_map(|taken| &taken.reports) {
            let Ok(record) = Params::from_json(json.as_bytes()) else { continue };
            match kind {
                StatKind::FailedTunnel => data.failed_tunnel_stats.push(record),
                StatKind::RemoteServerList => data.remote_server_list_stats.push(record),
            }
        }
        data
    }

    fn arrived(mut self) {
        if let Some(taken) = self.taken.take() {
            self.store.clear(taken);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.store.put_back(taken);
        }
    }
}

/// A tunnel that was not established, or broke.
pub(crate) struct FailedTunnel<'a> {
    pub(crate) session_id: &'a str,
    pub(crate) tag: &'a Tag,
    pub(crate) dial: DialParams,
    pub(crate) error: &'a str,
    /// What it had carried, if it was there: sent and received.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl FailedTunnel<'_> {
    /// Stores a record of it, as often as the parameters want to know.
    pub(crate) fn store(self, store: &Store, config: &Config, prng: &mut Prng) {
        let statistics = &config.parameters.statistics;
        let probability = statistics.failed_tunnel_probability;
        if !probability.happens(prng) {
            return;
        }
        let mut record = Params::default();
        base_params(config).write(&mut record);
        self.dial.write(&mut record);
        let last_connected = store.last_connected().unwrap_or_else(|| NEVER_CONNECTED.to_owned());
        let failed = to_hour(OffsetDateTime::now_utc());
        for (name, text) in [
            ("session_id", self.session_id),
            ("server_entry_tag", self.tag.as_str()),
            ("last_connected", &last_connected),
            ("client_failed_timestamp", &failed),
            ("record_probability", &format!("{:.6}", probability.get())),
            // Errors of the system name addresses.
            ("tunnel_error", &without_addresses(self.error)),
        ] {
            record.set(name, text);
        }
        if let Some((sent, received)) = self.bytes {
            record.set("bytes_up", sent.to_string());
            record.set("bytes_down", received.to_string());
        }
        store.enqueue_stat(StatKind::FailedTunnel, &record.to_json(), statistics.max_store_records);
    }
}

#[cfg(test)]
mod tests {
    use culvert_protocol::TunnelProtocol;
    use culvert_protocol::api::{RequestKind, validate};

    use super::*;

    fn record(store: &Store, probability: &str) {
        let text = format!(
            r#"{{"PropagationChannelId":"0000000000000000","SponsorId":"0000000000000000",
            "Parameters":{{"RecordFailedTunnelPersistentStatsProbability":{probability}}}}}"#
        );
        let config = crate::config::parse("client.config", &text).unwrap().config;
        let failed = FailedTunnel {
            session_id: "00112233445566778899aabbccddeeff",
            tag: &Tag::explicit("tag"),
            dial: DialParams::new(TunnelProtocol::OSSH),
            error: "connect 203.0.113.5:443: refused",
            bytes: Some((10, 2_000)),
        };
        failed.store(store, &config, &mut Prng::new(&Seed::from_bytes([7; 32])));
    }

    #[test]
    fn a_record_is_what_servers_take() {
        let store = Store::in_memory();
        record(&store, "1.0");
        let data = InFlight { store: &store, taken: Some(store.take_stats(1)) }.data();
        let [record] = data.failed_tunnel_stats.as_slice() else { panic!("{data:?}") };
        validate(RequestKind::FailedTunnel, record).unwrap();
        let error = record.text("tunnel_error").unwrap();
        assert!(error.starts_with("connect ") && !error.contains("203.0.113.5"), "{error}");
        assert_eq!(record.text("last_connected"), Some("None"));
        assert_eq!((record.text("bytes_up"), record.text("bytes_down")), (Some("10"), Some("2000")));
    }

    #[test]
    fn nothing_is_recorded_unless_asked_for() {
        let store = Store::in_memory();
        record(&store, "0.0");
        assert_eq!(store.waiting_stats(), 0);
    }

    #[test]
    fn what_is_not_answered_waits_again() {
        let store = Store::in_memory();
        record(&store, "1.0");
        drop(InFlight { store: &store, taken: Some(store.take_stats(1)) });
        assert_eq!(store.waiting_stats(), 1);
        InFlight { store: &store, taken: Some(store.take_stats(1)) }.arrived();
        assert_eq!((store.waiting_stats(), store.take_stats(1).is_empty()), (0, true));
    }
}
