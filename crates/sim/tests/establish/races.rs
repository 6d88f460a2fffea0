//! Races, stalls, affinity and replay, network changes, ends of tunnels.

use std::time::Duration;

use crate::scene::{Scene, each_seed, ms, quick, secs};
use culvert_client::notice::{DialOrigin, Notice};
use culvert_sim::{Behaviour, Endpoint, Path};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

#[test]
fn of_twenty_servers_of_which_most_are_mute_one_is_found_soon() {
    for (delay, most, median) in [(0, secs(3), ms(300)), (50, secs(4), secs(1))] {
        let path = Path { delay: ms(delay), loss: 0.0 };
        let mut times = each_seed(1, |seed| async move {
            let mut scene = Scene::new(seed);
            for number in 0..17 {
                scene.mute(number, path);
            }
            let _live: Vec<_> = (17..20).map(|number| scene.live(number, path)).collect();
            let took = scene.connect().await;
            assert!(took <= most, "{took:?} at {delay} ms");
            scene.stop().await;
            took
        });
        times.sort();
        let middle = times[times.len() / 2];
        println!("{delay} ms each way: median {middle:?}, worst {:?}", times.last().unwrap());
        assert!(middle <= median, "{middle:?} at {delay} ms");
    }
}

#[test]
fn whatever_most_servers_do_the_one_that_works_is_found_and_nothing_is_left_behind() {
    each_seed(2, |seed| async move {
        let mut scene = Scene::new(seed);
        let kinds = [Behaviour::Mute, Behaviour::Refuse, Behaviour::Drop, Behaviour::Reset];
        for number in 0..40 {
            let path = Path { delay: ms(scene.draw(1, 150)), loss: 0.02 };
            let kind = kinds[usize::try_from(scene.draw(0, 3)).unwrap()];
            scene.dead(number, path, kind);
        }
        let path = Path { delay: ms(scene.draw(1, 300)), loss: 0.05 };
        let _server = scene.live(40, path);
        let took = scene.connect().await;
        assert!(took <= secs(60), "{took:?}");
        // Losers are cancelled, and freed.
        sleep(secs(5)).await;
        assert_eq!(scene.world.connections(), 1);
        scene.stop().await;
        sleep(secs(10)).await;
        assert_eq!(scene.world.connections(), 0);
    });
}

#[test]
fn a_lone_server_behind_a_very_slow_path_is_no_stalled_one() {
    each_seed(3, |seed| async move {
        let mut scene = Scene::new(seed);
        let server = scene.live(0, Path { delay: ms(1500), loss: 0.0 });
        let took = scene.connect().await;
        assert!(took <= secs(15), "{took:?}");
        assert_eq!(server.seen().handshakes, 1);
        scene.stop().await;
    });
}

#[test]
fn the_server_that_served_last_is_first_again_beside_many_unknown() {
    each_seed(4, |seed| async move {
        let mut scene = Scene::new(seed);
        let server = scene.live(0, quick());
        let alone = scene.connect().await;
        scene.stop().await;
        for number in 1..60 {
            scene.dead(number, quick(), Behaviour::Mute);
        }
        let before = scene.world.dials().len();
        let beside = scene.connect().await;
        assert!(beside <= alone.mul_f64(1.2) + ms(1), "{beside:?} after {alone:?}");
        assert_eq!(scene.world.dials().len(), before + 1, "nobody else was dialed");
        assert_eq!(server.seen().handshakes, 2);
        scene.stop().await;
    });
}

#[test]
fn the_plan_that_worked_is_used_again_at_the_next_start() {
    each_seed(14, |seed| async move {
        for is_target in [true, false] {
            let mut scene = Scene::new(seed);
            let _server = if is_target { scene.aim_at(0, quick()) } else { scene.live(0, quick()) };
            for expected in [DialOrigin::Fresh, DialOrigin::Replay] {
                scene.start();
                let dialed = |notice: &Notice| matches!(notice, Notice::ConnectingServer(dial) if dial.origin == expected);
                scene.wait_for(dialed).await;
                scene.next_tunnel().await;
                // A plan must prove itself.
                sleep(secs(3)).await;
                scene.stop().await;
            }
        }
    });
}

#[test]
fn a_tunnel_that_is_closed_is_made_anew_at_once() {
    each_seed(5, |seed| async move {
        let mut scene = Scene::new(seed);
        let servers: Vec<_> = (0..3).map(|number| scene.live(number, quick())).collect();
        scene.connect().await;
        sleep(secs(100)).await;
        servers.iter().for_each(|server| scene.world.reset(server.at));
        let took = scene.next_tunnel().await;
        assert!(took <= secs(1), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn a_blackhole_is_noticed_while_a_flow_waits() {
    each_seed(6, |seed| async move {
        let mut scene = Scene::new(seed);
        let _servers: Vec<_> = (0..3).map(|number| scene.live(number, quick())).collect();
        scene.connect().await;
        let mut flow = scene.open().await;
        flow.write_all(b"before").await.unwrap();
        flow.read_exact(&mut [0; 6]).await.unwrap();
        let idle = scene.draw(0, 300);
        sleep(secs(idle)).await;
        scene.world.cut_all();
        flow.write_all(b"after").await.unwrap();
        let took = scene.next_tunnel().await;
        assert!(took <= secs(20), "{took:?} when {idle} s idle");
        scene.stop().await;
    });
}

#[test]
fn a_tunnel_that_falls_silent_is_reported_and_its_server_forgotten_unless_there_was_no_network() {
    each_seed(41, |seed| async move {
        let mut scene = Scene::new(seed);
        scene.set("SSHKeepAliveResetOnFailureProbability", 1.0);
        scene.set("RecordFailedTunnelPersistentStatsProbability", 1.0);
        let server = scene.live(0, quick());
        scene.connect().await;
        // The plan has proved itself by then.
        sleep(secs(5)).await;
        assert!(scene.first_again().is_some());
        scene.world.cut_all();
        scene.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 0 })).await;
        assert_eq!((scene.first_again(), scene.store().waiting_stats()), (None, 1));
        scene.next_tunnel().await;
        sleep(secs(5)).await;
        assert!(scene.first_again().is_some());
        // The reports have left by then.
        scene.set_connectivity(false);
        let reports = scene.store().waiting_stats();
        scene.world.cut_all();
        scene.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 0 })).await;
        assert_eq!(scene.store().waiting_stats(), reports);
        assert!(scene.first_again().is_some());
        drop(server);
        scene.stop().await;
    });
}

#[test]
fn an_idle_client_sends_keepalives_and_nothing_else() {
    each_seed(7, |seed| async move {
        let mut scene = Scene::new(seed);
        let server = scene.live(0, quick());
        scene.connect().await;
        sleep(secs(3600)).await;
        let seen = server.seen();
        assert!((29..=61).contains(&seen.keepalives), "{seen:?}");
        assert_eq!((seen.connections, seen.flows), (1, 0));
        scene.stop().await;
    });
}

#[test]
fn another_network_ends_the_tunnel_and_a_new_one_comes_up() {
    each_seed(8, |seed| async move {
        let mut scene = Scene::new(seed);
        let _servers: Vec<_> = (0..3).map(|number| scene.live(number, quick())).collect();
        scene.connect().await;
        sleep(secs(scene.draw(1, 200))).await;
        scene.world.cut_all();
        scene.controls().network_changed();
        let took = scene.next_tunnel().await;
        assert!(took <= secs(2), "{took:?}");
        // Asked for, it is the same.
        scene.controls().reconnect();
        let took = scene.next_tunnel().await;
        assert!(took <= secs(2), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn without_a_network_there_is_rest_and_with_it_a_tunnel() {
    each_seed(9, |seed| async move {
        let mut scene = Scene::new(seed);
        let _servers: Vec<_> = (0..30).map(|number| scene.live(number, quick())).collect();
        scene.world.set_route(false);
        scene.start();
        sleep(secs(250)).await;
        let dials = scene.world.dials().len();
        assert!((1..=20).contains(&dials), "{dials} dials without a network");
        scene.world.set_route(true);
        scene.controls().network_changed();
        let took = scene.next_tunnel().await;
        assert!(took <= secs(2), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn a_host_that_says_there_is_no_network_is_believed_and_its_time_is_not_counted() {
    each_seed(10, |seed| async move {
        let mut scene = Scene::new(seed);
        let _server = scene.live(0, quick());
        scene.set_connectivity(false);
        scene.start();
        sleep(secs(1000)).await;
        assert_eq!(scene.world.dials().len(), 0);
        scene.set_connectivity(true);
        let took = scene.next_tunnel().await;
        assert!(took <= secs(2), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn time_runs_out_once_and_not_while_there_was_a_tunnel() {
    each_seed(11, |seed| async move {
        let mut scene = Scene::new(seed);
        scene.set("EstablishTunnelTimeout", "40s");
        scene.dead(0, quick(), Behaviour::Refuse);
        scene.start();
        let (after, error) = scene.failure().await;
        assert!((secs(39)..=secs(41)).contains(&after), "{after:?}: {error}");
        assert!(error.contains("EstablishTunnelTimeoutSeconds"), "{error}");

        let mut scene = Scene::new(seed);
        scene.set("EstablishTunnelTimeout", "40s");
        let server = scene.live(0, quick());
        scene.connect().await;
        let at = server.at;
        drop(server);
        scene.world.reset(at);
        sleep(secs(60)).await;
        let _again = Endpoint::start(&scene.world, at, quick());
        let took = scene.next_tunnel().await;
        assert!(took <= secs(30), "{took:?}");
        scene.stop().await;
    });
}

#[test]
fn several_tunnels_share_the_flows() {
    each_seed(12, |seed| async move {
        let mut scene = Scene::new(seed);
        scene.set("TunnelPoolSize", 3);
        let servers: Vec<_> = (0..5).map(|number| scene.live(number, quick())).collect();
        scene.start();
        scene.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 3 })).await;
        for _ in 0..6 {
            let mut flow = scene.open().await;
            flow.write_all(b"x").await.unwrap();
            flow.read_exact(&mut [0; 1]).await.unwrap();
        }
        let flows: Vec<u32> = servers.iter().map(|server| server.seen().flows).filter(|n| *n > 0).collect();
        assert_eq!(flows, [2, 2, 2]);
        let lost = servers.iter().find(|server| server.seen().flows > 0).unwrap();
        scene.world.reset(lost.at);
        scene.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 2 })).await;
        scene.wait_for(|notice| matches!(notice, Notice::Tunnels { count: 3 })).await;
        scene.stop().await;
    });
}

#[test]
fn several_clients_in_one_process_know_nothing_of_each_other() {
    each_seed(13, |seed| async move {
        let mut scenes: Vec<Scene> = (0..4).map(|number| Scene::new(seed * 100 + number)).collect();
        let mut servers = Vec::new();
        for scene in &mut scenes {
            servers.push(scene.live(0, quick()));
            scene.start();
        }
        for scene in &mut scenes {
            timeout(secs(10), scene.next_tunnel()).await.unwrap();
        }
        scenes.remove(0).stop().await;
        sleep(Duration::from_secs(200)).await;
        assert_eq!(servers.iter().map(|server| server.seen().handshakes).sum::<u32>(), 4);
        for mut scene in scenes {
            scene.open().await;
            scene.stop().await;
        }
    });
}
