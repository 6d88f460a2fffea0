//! An application that does not take what the peer asks stops the peer, and its memory stays bounded in bytes, not only in number.

mod login;

use std::sync::Arc;
use std::time::Duration;

use culvert_ssh::host_key::HostKey;
use culvert_ssh_tokio::{Incoming, run};

use login::{client, logged_in, server};

const LONG: usize = 200_000;
const COUNT: usize = 20;

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
