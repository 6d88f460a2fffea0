//! Bugs, made on purpose: a panic ends the tunnel that it is in and nothing else, and the log says where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use culvert_server::{Drill, DrillSpot};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::figures::{figures, port as figures_port, value};
use crate::server::{HANDSHAKE, Plan, Server};
use crate::{echo_after_end, to_end};

const SPOTS: [DrillSpot; 4] = [DrillSpot::Accept, DrillSpot::Connection, DrillSpot::Request, DrillSpot::Flow];

/// A server that panics once where it is told to; 0 is nowhere.
async fn start(name: &str) -> (Server, Arc<AtomicU8>) {
    let armed = Arc::new(AtomicU8::new(0));
    let trigger = armed.clone();
    let server = Server::start(name, |config| {
        config.figures.address = Some("127.0.0.1:0".parse().unwrap());
        config.drill = Drill::new(move |spot| {
            let number = 1 + SPOTS.iter().position(|it| *it == spot).unwrap() as u8;
            if trigger.compare_exchange(number, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                panic!("drill at {spot:?}, secret-of-a-client");
            }
        });
    })
    .await;
    (server, armed)
}

#[tokio::test]
async fn a_panic_ends_one_tunnel_and_is_logged() {
    let (mut server, armed) = start("panic").await;
    let origin = echo_after_end().await;
    let other = Plan { session: 2, ..Plan::default() }.tunnel(&server).await;
    let mut flow = other.flow(origin).await.unwrap();
    for (index, spot) in SPOTS.into_iter().enumerate() {
        let arm = || armed.store(1 + index as u8, Ordering::SeqCst);
        match spot {
            DrillSpot::Accept | DrillSpot::Connection => {
                arm();
                let mut stream = TcpStream::connect(server.ossh).await.unwrap();
                let mut end = Vec::new();
                // An end or a reset.
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end).await;
                assert!(end.is_empty());
            }
            DrillSpot::Request => {
                let mut client = Plan::default().connect(&server).await.unwrap();
                arm();
                assert!(client.ask("psiphon-handshake", HANDSHAKE).await.is_none());
                client.ended().await;
            }
            DrillSpot::Flow => {
                let mut client = Plan::default().tunnel(&server).await;
                arm();
                let open = culvert_ssh::direct_tcpip::DirectTcpip {
                    host: b"127.0.0.1",
                    port: origin.port().into(),
                    first_bytes: b"",
                };
                let opened = client.handle.open("direct-tcpip", &open.encode()).await;
                assert!(opened.is_err());
                client.ended().await;
            }
        }
        assert_eq!(armed.load(Ordering::SeqCst), 0, "{spot:?} was not passed");
        // Others neither end nor are kept out.
        assert!(other.ask("keepalive@openssh.com", "").await.is_some(), "{spot:?}");
        let another = Plan { session: 3, ..Plan::default() }.tunnel(&server).await;
        assert!(another.flow(origin).await.is_ok(), "{spot:?}");
    }
    let counted = figures(figures_port(&server)).await;
    // One that ends no tunnel, in accepting, is one too.
    assert!((value(&counted, "culvert_panics_total") - SPOTS.len() as f64).abs() < 1e-9, "{counted}");
    flow.write_all(b"unhurt").await.unwrap();
    flow.shutdown().await.unwrap();
    assert_eq!(to_end(&mut flow).await, b"unhurt");
    server.stop().await;
    let panics = server.events("server_panic");
    assert_eq!(panics.len(), SPOTS.len());
    for panic in &panics {
        assert!(panic["location"].as_str().unwrap().contains("bugs/mod.rs:"), "{panic}");
        assert!(panic["backtrace"].as_str().unwrap().contains("culvert_server"), "{panic}");
    }
    assert!(!server.lines().contains("secret-of-a-client"));
    assert!(server.lines().contains("a bug in accepting"));
}
