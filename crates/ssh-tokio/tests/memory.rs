//! What a tunnel holds when nobody reads what comes through it, counted on the thread that it runs on, and that it is
//! given back.

#[path = "../../ssh/tests/hostile/allocator.rs"]
mod allocator;
mod login;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use culvert_ssh::host_key::HostKey;
use culvert_ssh_tokio::{ChannelStream, Incoming, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use allocator::{peak, standing};

/// What a tunnel may cost before a window has grown.
const TUNNEL: usize = 2 << 20;
/// What a thread lends to its tunnels in turn, to read and to write with.
const LENT: usize = 2 * (256 + 64) * 1024;
const CHANNELS: usize = 2000;
/// Sent through each.
const BODY: usize = 20_000;

/// A server on a thread of its own, which accepts channels and reads nothing until it is told to.
struct Stalled {
    address: std::net::SocketAddr,
    go_on: watch::Sender<bool>,
    /// The most that stood allocated while nobody read, and what stood a while after all was read.
    result: std::thread::JoinHandle<(usize, isize)>,
}

fn stalled_server(host_key: Arc<HostKey>) -> Stalled {
    let (go_on, stalls) = watch::channel(false);
    let (sender, address) = mpsc::channel();
    let result = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // What the runtime itself needs is not the tunnel's.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        let before = standing();
        let ((streams, session), most) = peak(|| {
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                sender.send(listener.local_addr().expect("bound")).expect("somebody waits");
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a TCP socket");
                let (mut session, driver) = run(login::server(host_key), stream);
                tokio::spawn(driver);
                login::logged_in(&mut session).await;
                let mut streams: Vec<ChannelStream> = Vec::new();
                let mut stalls = stalls;
                loop {
                    tokio::select! {
                        incoming = session.next() => match incoming {
                            Some(Incoming::Channel(channel)) => streams.extend(channel.accept()),
                            Some(_) => {}
                            None => unreachable!("the connection ended: {:?}", session.handle().end()),
                        },
                        _ = stalls.changed() => break,
                    }
                }
                (streams, session)
            })
        });
        assert_eq!(streams.len(), CHANNELS);
        runtime.block_on(async {
            for mut stream in streams {
                let received = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                assert_eq!(received.expect("the rest comes"), BODY as u64);
            }
            tokio::time::sleep(Duration::from_secs(11)).await;
        });
        let kept = standing() - before;
        drop(session);
        (most, kept)
    });
    Stalled { address: address.recv().expect("it listens"), go_on, result }
}

#[tokio::test]
async fn thousands_of_channels_that_nobody_reads_are_bounded_and_given_back() {
    let host_key = Arc::new(HostKey::generate().expect("key generation works"));
    let server = stalled_server(host_key.clone());
    let stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut session, driver) = run(login::client(&host_key), stream);
    tokio::spawn(driver);
    login::logged_in(&mut session).await;

    let mut writers = Vec::new();
    for _ in 0..CHANNELS {
        let mut stream = session.handle().open("direct-tcpip", b"somewhere").await.expect("it accepts");
        writers.push(tokio::spawn(async move {
            stream.write_all(&[1; BODY]).await.expect("the connection lives");
            stream.shutdown().await.expect("the connection lives");
            stream.read_to_end(&mut Vec::new()).await.expect("it ends");
        }));
    }
    // Until nothing moves any more.
    let mut moved = 0;
    while moved != session.handle().stats().written {
        moved = session.handle().stats().written;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(moved > 512 * 1024, "{moved}");

    server.go_on.send(true).expect("it waits");
    for writer in writers {
        writer.await.expect("everything arrives");
    }
    let (most, kept) = server.result.join().expect("the server passed");
    assert!(most < TUNNEL + LENT, "{most} bytes for {CHANNELS} channels");
    assert!(kept < 128 * 1024, "{kept} bytes stay");
    println!("{CHANNELS} channels: {most} bytes at most, {kept} after");
}
