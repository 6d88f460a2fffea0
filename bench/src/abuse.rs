//! One client that takes all it can get of one thing, for ever: what a server lets it have is the server's business.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use culvert_protocol::ServerEntry;
use culvert_protocol::udpgw::{Datagram, Flags, encode_upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::sleep;

use crate::Outcome;
use crate::exchanges::echo;
use crate::tunnel::{Opener, Tunnel};

/// Where the gateway of generated servers is (PROTOCOL.md 7.1).
const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7300);
/// Its address, which no other load here has.
const NUMBER: usize = 12_345;
/// After something that was refused, so that this process has time for its keys.
const PAUSE: Duration = Duration::from_millis(1);
/// Datagrams that are written at once.
const AT_A_TIME: u16 = 64;

/// Of what it takes all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    /// Flows that come and go.
    Flows,
    /// Flows to who does not answer.
    Dials,
    /// Datagrams to who does not answer, each over a connection of its own.
    Datagrams,
    /// Questions to name servers.
    Queries,
    /// Bytes, both ways.
    Bytes,
}

impl Want {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "flows" => Some(Self::Flows),
            "dials" => Some(Self::Dials),
            "datagrams" => Some(Self::Datagrams),
            "queries" => Some(Self::Queries),
            "bytes" => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// Brings up one tunnel, says `ready`, and takes what it wants with `count` tasks until killed. Each second it says how often it tried.
pub(crate) async fn run(entry: ServerEntry, server: SocketAddr, count: usize, want: Want) -> Outcome<()> {
    let tunnel = Tunnel::establish(&entry, server, NUMBER).await?;
    let opener = tunnel.opener();
    let tried = Arc::<AtomicUsize>::default();
    let target = Rc::new(Target::of(want).await?);
    println!("ready");
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for _ in 0..count.max(1) {
        let (opener, tried, target) = (opener.clone(), tried.clone(), target.clone());
        tasks.spawn_local_on(
            async move {
                loop {
                    // What the server ends is begun again.
                    let _ = once(want, &opener, target.address, &tried).await;
                    sleep(PAUSE).await;
                }
            },
            &local,
        );
    }
    let told = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            println!("tried {}", tried.swap(0, Ordering::Relaxed));
        }
    };
    local
        .run_until(async {
            tokio::select! {
                () = tunnel.hold() => Err("the server ended the tunnel".into()),
                () = told => Ok(()),
            }
        })
        .await
}

/// Where it goes.
struct Target {
    address: SocketAddr,
    _silent: Option<UdpSocket>,
    _filled: Vec<TcpStream>,
}

impl Target {
    async fn of(want: Want) -> Outcome<Self> {
        let (mut silent, mut filled) = (None, Vec::new());
        let address = match want {
            Want::Flows | Want::Bytes => echo().await?,
            Want::Datagrams | Want::Queries => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                silent.insert(socket).local_addr()?
            }
            Want::Dials => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
                // Nobody accepts, and there is room for two: who comes then waits for an answer.
                let listener = socket.listen(1)?;
                let address = listener.local_addr()?;
                filled = vec![TcpStream::connect(address).await?, TcpStream::connect(address).await?];
                // As long as this process.
                std::mem::forget(listener);
                address
            }
        };
        Ok(Self { address, _silent: silent, _filled: filled })
    }
}

async fn once(want: Want, opener: &Opener, to: SocketAddr, tried: &AtomicUsize) -> Outcome<()> {
    match want {
        Want::Flows | Want::Dials => loop {
            tried.fetch_add(1, Ordering::Relaxed);
            match opener.flow(to).await {
                Ok(mut flow) => flow.write_all(&[7; 64]).await?,
                Err(_) => sleep(PAUSE).await,
            }
        },
        Want::Datagrams | Want::Queries => datagrams(want, opener, to, tried).await,
        Want::Bytes => {
            let (mut from, mut into) = tokio::io::split(opener.flow(to).await?);
            let (sent, mut read) = (vec![7; 64 << 10], vec![0; 64 << 10]);
            let write = async {
                loop {
                    into.write_all(&sent).await?;
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            };
            let read = async {
                while from.read(&mut read).await? > 0 {}
                Ok::<(), std::io::Error>(())
            };
            tokio::select! {
                written = write => written,
                read = read => read,
            }?;
            Ok(())
        }
    }
}

async fn datagrams(want: Want, opener: &Opener, to: SocketAddr, tried: &AtomicUsize) -> Outcome<()> {
    let mut gateway = opener.flow(GATEWAY).await?;
    let (flags, packet) = match want {
        Want::Queries => (Flags::default().with_dns(), QUERY.to_vec()),
        _ => (Flags::default(), vec![7; 64]),
    };
    for first in (0..=u16::MAX).step_by(AT_A_TIME.into()).cycle() {
        let mut frames = Vec::new();
        for connection in (first..=u16::MAX).take(AT_A_TIME.into()) {
            let datagram = Datagram { flags, connection, remote: to, packet: packet.clone() };
            frames.extend(encode_upstream(&datagram)?);
        }
        gateway.write_all(&frames).await?;
        tried.fetch_add(AT_A_TIME.into(), Ordering::Relaxed);
        yield_now().await;
    }
    Ok(())
}

/// For the address of `a.invalid`.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07invalid\0\0\x01\0\x01";
