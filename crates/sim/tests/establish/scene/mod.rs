//! One client in a world of its own, and how it is driven.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use culvert_client::data_dir::DataDir;
use culvert_client::flow::{Destination, FlowStream};
use culvert_client::notice::{Detail, Notice, Notices};
use culvert_client::store::{Replace, ServerId, Store};
use culvert_client::{Client, Controls, Events, Feed, Host, NoFeed, Surroundings};
use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::server_entry::EntrySource;
use culvert_sim::{Behaviour, Endpoint, Path, World};
use serde_json::json;
use tokio::time::Instant;

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The way to a server nearby.
pub(crate) fn quick() -> Path {
    Path { delay: ms(10), loss: 0.0 }
}

/// Runs a test for each seed, in virtual time; `salt` tells tests apart. Says which seed failed.
pub(crate) fn each_seed<T, F: Future<Output = T>>(salt: u64, test: impl Fn(u64) -> F) -> Vec<T> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("CULVERT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None if number("CULVERT_SIM_LONG").is_some() => 0..1000,
        None => 0..number("CULVERT_SIM_SEEDS").unwrap_or(8),
    };
    seeds
        .map(|seed| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            let named = Named(seed);
            let result = runtime.block_on(test(seed * 1000 + salt));
            std::mem::forget(named);
            result
        })
        .collect()
}

/// Names the seed when the test panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        eprintln!("failed with CULVERT_SIM_SEED={}", self.0);
    }
}

pub(crate) struct Scene {
    pub(crate) world: World,
    prng: Prng,
    store: Store,
    settings: serde_json::Map<String, serde_json::Value>,
    controls: Controls,
    has_network: Arc<AtomicBool>,
    feed: Arc<dyn Feed>,
    folder: PathBuf,
    running: Option<(Client, Events)>,
    started: Instant,
}

impl Scene {
    pub(crate) fn new(seed: u64) -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let seed = Seed::from_bytes(bytes);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("culvert-sim-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let settings = json!({
            "PropagationChannelId": "00000000000000AA", "SponsorId": "00000000000000BB",
            "DisableLocalSocksProxy": true, "DisableLocalHTTPProxy": true,
        });
        Self {
            world: World::new(&seed),
            prng: Prng::derived(&seed, "scene"),
            store: Store::in_memory(),
            settings: settings.as_object().unwrap().clone(),
            controls: Controls::default(),
            has_network: Arc::new(AtomicBool::new(true)),
            feed: Arc::new(NoFeed),
            folder,
            running: None,
            started: Instant::now(),
        }
    }

    pub(crate) fn draw(&mut self, least: i64, most: i64) -> u64 {
        self.prng.range(least, most).cast_unsigned()
    }

    /// Has the client use one server only, which its store does not have.
    pub(crate) fn aim_at(&mut self, number: u8, path: Path) -> Endpoint {
        let at = SocketAddr::from(([192, 0, 2, number], 443));
        self.settings.insert("TargetServerEntry".to_owned(), Endpoint::entry(at, "CA").encode().into());
        Endpoint::start(&self.world, at, path)
    }

    /// Sets a key of the config.
    pub(crate) fn set_key(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Sets a parameter.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        let parameters = self.settings.entry("Parameters").or_insert_with(|| json!({}));
        parameters.as_object_mut().unwrap().insert(name.to_owned(), value.into());
    }

    /// Has somebody feed the client.
    pub(crate) fn feed(&mut self, feed: impl Feed + 'static) {
        self.feed = Arc::new(feed);
    }

    fn know(&self, number: u8, region: &str) -> SocketAddr {
        let at = SocketAddr::from(([192, 0, 2, number], 443));
        self.store.put(&Endpoint::entry(at, region), &EntrySource::Embedded, Replace::Always).unwrap();
        at
    }

    /// A server that works.
    pub(crate) fn live(&mut self, number: u8, path: Path) -> Endpoint {
        let at = self.know(number, "CA");
        Endpoint::start(&self.world, at, path)
    }

    /// The same in another region than most.
    pub(crate) fn live_in(&mut self, number: u8, region: &str) -> Endpoint {
        let at = self.know(number, region);
        Endpoint::start(&self.world, at, quick())
    }

    pub(crate) fn want_region(&mut self, region: &str) {
        self.settings.insert("EgressRegion".to_owned(), region.into());
    }

    /// One that does not.
    pub(crate) fn dead(&mut self, number: u8, path: Path, behaviour: Behaviour) {
        self.world.put(self.know(number, "CA"), path, behaviour);
    }

    pub(crate) fn mute(&mut self, number: u8, path: Path) {
        self.dead(number, path, Behaviour::Mute);
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The server that served last here, if it has a plan that worked.
    pub(crate) fn first_again(&self) -> Option<ServerId> {
        let network = "UNKNOWN";
        let last = self.store.affinity(network)?;
        self.store.replayable(network).contains(&last).then_some(last)
    }

    pub(crate) fn set_connectivity(&self, has_network: bool) {
        self.has_network.store(has_network, Ordering::Relaxed);
    }

    pub(crate) fn controls(&self) -> &Controls {
        &self.controls
    }

    pub(crate) fn start(&mut self) {
        let text = serde_json::Value::Object(self.settings.clone()).to_string();
        let config = culvert_client::config::parse("client.config", &text).unwrap().config;
        let has_network = self.has_network.clone();
        let host = Host {
            connectivity: Some(Arc::new(move || has_network.load(Ordering::Relaxed))),
            tells_changes: true,
            ..Host::default()
        };
        let data_dir = DataDir::open(Some(&self.folder)).unwrap().data_dir;
        let network = Arc::new(self.world.clone());
        let notices = Notices::silent();
        notices.show(Detail::Diagnostic, BTreeSet::new());
        let surroundings = Surroundings {
            host,
            store: self.store.clone(),
            controls: self.controls.clone(),
            feed: self.feed.clone(),
            seed: Some(self.seed()),
            ..Surroundings::new(data_dir, notices, network)
        };
        self.started = Instant::now();
        self.running = Some(Client::start(config, surroundings));
    }

    fn seed(&mut self) -> Seed {
        let mut bytes = [0; 32];
        self.prng.fill(&mut bytes);
        Seed::from_bytes(bytes)
    }

    /// Starts the client and waits for its tunnel; tells how long that took.
    pub(crate) async fn connect(&mut self) -> Duration {
        self.start();
        self.next_tunnel().await
    }

    /// Waits for the next tunnel; tells how long that took.
    pub(crate) async fn next_tunnel(&mut self) -> Duration {
        let started = Instant::now();
        self.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 1.. })).await;
        started.elapsed()
    }

    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&Notice) -> bool) {
        let (client, events) = self.running.as_mut().unwrap();
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    let notice = event.expect("a client that runs").notice;
                    if wanted(&notice) {
                        return;
                    }
                }
                error = client.failed() => unreachable!("the client has ended: {error}"),
            }
        }
    }

    /// Waits for the client to end by itself; tells how long that took, and why.
    pub(crate) async fn failure(&mut self) -> (Duration, String) {
        let (client, _) = self.running.as_mut().unwrap();
        let error = client.failed().await;
        (self.started.elapsed(), error.to_string())
    }

    pub(crate) async fn open(&mut self) -> FlowStream {
        let (client, _) = self.running.as_mut().unwrap();
        let destination = Destination { host: "example.org".parse().unwrap(), port: 80 };
        client.open(destination).await.unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        let (client, _) = self.running.take().unwrap();
        client.stop().await.unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The client's lock on the folder goes with the client.
        drop(self.running.take());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
