//! An application that does not take what the peer asks stops the peer, and its memory stays bounded in bytes, not only in number.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{GeneratedPrefix, Seed};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, ClientConfig, Connection, Decisions, Ident, Limits, ReplyPrefix, ServerConfig,
};
use culvert_ssh_tokio::{Incoming, Session, run};

const LONG: usize = 200_000;
const COUNT: usize = 20;

fn ident() -> Ident {
    Ident::local("SSH-2.0-OpenSSH_8.1").expect("valid")
}

fn server(host_key: Arc<HostKey>) -> Connection {
    let config = ServerConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key,
        obfuscation: None,
        decisions: Decisions {
            reply_prefix: Box::new(|_, _| ReplyPrefix {
                prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("long enough"),
                split: None,
            }),
            authenticate: Box::new(|_, _| true),
        },
        limits: Limits::default(),
        seed: Seed::from_bytes([1; 32]),
    };
    Connection::server(config, Box::new(FreshKeys))
}

fn client(host_key: &HostKey) -> Connection {
    let config = ClientConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: host_key.public_blob().to_vec(),
        user: b"u".to_vec(),
        password: b"p".to_vec().into(),
        obfuscation: None,
        limits: Limits::default(),
        seed: Seed::from_bytes([2; 32]),
    };
    Connection::client(config, Box::new(FreshKeys))
}

async fn logged_in(session: &mut Session) {
    while let Some(incoming) = session.next().await {
        if matches!(incoming, Incoming::Authenticated { .. }) {
            return;
        }
    }
    unreachable!("no login: {:?}", session.handle().end());
}

#[tokio::test]
async fn long_requests_that_nobody_takes_stop_the_peer() {
    let host_key = Arc::new(HostKey::generate().expect("key generation works"));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut ours, driver) = run(client(&host_key), near);
    tokio::spawn(driver);
    let (mut theirs, driver) = run(server(host_key), far);
    tokio::spawn(driver);
    tokio::join!(logged_in(&mut ours), logged_in(&mut theirs));

    for _ in 0..COUNT {
        ours.handle().notify("long", &[7; LONG]);
    }
    let mut read = 0;
    // Until nothing moves any more.
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = theirs.handle().stats().read;
        if now == read {
            break;
        }
        read = now;
    }
    assert!((LONG as u64..2 << 20).contains(&read), "{read} bytes were read for nobody");
    for _ in 0..COUNT {
        let taken = tokio::time::timeout(Duration::from_secs(20), theirs.next()).await.expect("it goes on");
        assert!(matches!(taken, Some(Incoming::Request(request)) if request.payload.len() == LONG));
    }
}
