//! What others contribute while a tunnel is sought, here from a script: tactics, servers that are recommended or come late, and
//! what the host changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::scene::{Scene, each_seed, ms, quick, secs};
use culvert_client::{DynamicConfig, Feed};
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_sim::{Behaviour, Endpoint};
use culvert_transport::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// A feed that does what it is told.
#[derive(Clone, Default)]
struct Script {
    tactics: Duration,
    prioritized: Vec<ServerEntry>,
    brings_servers: bool,
    fetches: Arc<AtomicU32>,
}

impl Feed for Script {
    fn tactics(&self) -> BoxFuture<'_, ()> {
        Box::pin(sleep(self.tactics))
    }

    fn prioritized(&self) -> Vec<(ServerEntry, Option<TunnelProtocol>)> {
        self.prioritized.iter().map(|entry| (entry.clone(), Some(TunnelProtocol::OSSH))).collect()
    }

    fn brings_servers(&self) -> bool {
        self.brings_servers
    }

    fn fetch(&self) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tactics_are_waited_for_but_not_for_long() {
    each_seed(20, |seed| async move {
        for (takes, first_dial) in [(secs(0), secs(0)), (secs(3), secs(3)), (secs(1000), secs(5))] {
            let mut scene = Scene::new(seed);
            scene.feed(Script { tactics: takes, ..Script::default() });
            let _server = scene.live(0, quick());
            let started = Instant::now();
            scene.connect().await;
            assert_eq!(scene.world.dials()[0].0 - started, first_dial);
            scene.stop().await;
        }
    });
}

#[test]
fn a_recommended_server_is_dialed_first() {
    each_seed(21, |seed| async move {
        let mut scene = Scene::new(seed);
        let servers: Vec<_> = (0..20).map(|number| scene.live(number, quick())).collect();
        let prioritized = vec![Endpoint::entry(servers[13].at, "CA")];
        scene.feed(Script { prioritized, ..Script::default() });
        scene.connect().await;
        assert_eq!(scene.world.dials()[0].1, servers[13].at);
        assert_eq!(scene.world.dials().len(), 1, "it had its head start");
        scene.stop().await;
    });
}

#[test]
fn lists_are_fetched_when_nothing_works_and_what_they_bring_is_tried_at_once() {
    each_seed(22, |seed| async move {
        for is_empty in [true, false] {
            let mut scene = Scene::new(seed);
            let script = Script { brings_servers: true, ..Script::default() };
            scene.feed(script.clone());
            if !is_empty {
                scene.dead(1, quick(), Behaviour::Refuse);
            }
            scene.start();
            sleep(secs(if is_empty { 1 } else { 55 })).await;
            assert_eq!(script.fetches.load(Ordering::Relaxed) > 0, is_empty);
            sleep(secs(20)).await;
            assert!(script.fetches.load(Ordering::Relaxed) > 0);
            let _server = scene.live(2, quick());
            scene.controls().servers_imported();
            let took = scene.next_tunnel().await;
            assert!(took <= secs(1), "{took:?}");
            scene.stop().await;
        }
    });
}

#[test]
fn a_client_without_workers_fetches_and_dials_nobody() {
    each_seed(42, |seed| async move {
        let mut scene = Scene::new(seed);
        let script = Script::default();
        scene.feed(script.clone());
        scene.set_key("DisableConnectionWorkerPool", true);
        scene.start();
        sleep(secs(600)).await;
        assert_eq!((scene.world.dials().len(), script.fetches.load(Ordering::Relaxed)), (0, 1));
        scene.stop().await;
    });
}

#[test]
fn a_tunnel_that_is_held_off_waits() {
    each_seed(23, |seed| async move {
        let mut scene = Scene::new(seed);
        scene.set("HoldOffTunnelProtocolNames", json!(["OSSH"]));
        scene.set("HoldOffTunnelProtocolProbability", 1.0);
        scene.set("HoldOffTunnelProtocolMinDuration", "2s");
        scene.set("HoldOffTunnelProtocolMaxDuration", "3s");
        let _server = scene.live(0, quick());
        let took = scene.connect().await;
        assert!((secs(2)..ms(3500)).contains(&took), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn another_sponsor_is_told_from_the_next_tunnel_on() {
    each_seed(24, |seed| async move {
        let mut scene = Scene::new(seed);
        let server = scene.live(0, quick());
        scene.connect().await;
        let sponsor_id = "00000000000000CC".to_owned();
        scene.controls().set_dynamic_config(DynamicConfig { sponsor_id, authorizations: Vec::new() });
        sleep(secs(5)).await;
        assert_eq!(server.sponsors(), ["00000000000000BB"]);
        scene.controls().reconnect();
        scene.next_tunnel().await;
        assert_eq!(server.sponsors(), ["00000000000000BB", "00000000000000CC"]);
        scene.stop().await;
    });
}

#[test]
fn the_region_that_is_wanted_is_the_only_one_dialed() {
    each_seed(25, |seed| async move {
        let mut scene = Scene::new(seed);
        let _elsewhere: Vec<_> = (0..5).map(|number| scene.live(number, quick())).collect();
        let there = scene.live_in(9, "FR");
        scene.want_region("FR");
        scene.connect().await;
        assert!(scene.world.dials().iter().all(|(_, at)| *at == there.at));
        scene.stop().await;
        scene.want_region("SE");
        scene.start();
        let (_, error) = scene.failure().await;
        assert!(error.contains("CA, FR") && error.contains("EgressRegion"), "{error}");
    });
}
