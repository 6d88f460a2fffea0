//! Addresses of the names that applications send datagrams to. They are asked of the server's own resolver, through the
//! gateway, so that nobody near the client learns them; SOCKS gives no other way to carry a name to a UDP gateway.
//!
//! Source: RFC 1928 section 7; PROTOCOL.md 7.1.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_protocol::udpgw::Flags;
use hickory_proto::rr::RecordType;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::gateway::{Gateway, Outgoing, Receiver};
use super::lookup::{Answer, Lookups};
use crate::flow::HostName;
use crate::randomness::random;

/// Names that are remembered.
const MOST: usize = 256;
/// How long an answer is believed, whatever it says of itself.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// How long one query may take, and how often it is tried: datagrams get lost.
const TRY: Duration = Duration::from_millis(1500);
const TRIES: usize = 3;
/// What the query seems to go to: the server's resolver takes it, whatever is named.
const SOME_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), 53);

/// What is known of names.
#[derive(Default)]
pub(super) struct Names {
    known: Mutex<BTreeMap<String, Arc<OnceCell<Known>>>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    address: Option<IpAddr>,
    until: Instant,
}

impl Names {
    /// The address of a name, if it is known; `Some(None)` when it is known that there is none.
    pub(super) fn known(&self, name: &HostName) -> Option<Option<IpAddr>> {
        let known = self.lock().get(name.as_str())?.get().copied()?;
        (known.until > Instant::now()).then_some(known.address)
    }

    /// Finds the address of a name; who asks for the same meanwhile shares the answer.
    pub(super) async fn resolve(&self, gateway: &Arc<Gateway>, name: &HostName) -> Option<IpAddr> {
        let cell = self.cell(name);
        cell.get_or_init(|| ask(gateway.clone(), name.clone())).await.address
    }

    fn cell(&self, name: &HostName) -> Arc<OnceCell<Known>> {
        let mut known = self.lock();
        let now = Instant::now();
        let is_over = |cell: &Arc<OnceCell<Known>>| cell.get().is_some_and(|known| known.until <= now);
        known.retain(|_, cell| !is_over(cell));
        if known.len() >= MOST {
            known.pop_first();
        }
        known.entry(name.as_str().to_owned()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OnceCell<Known>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// IPv4 first, like the servers, which then need not have IPv6.
async fn ask(gateway: Arc<Gateway>, name: HostName) -> Known {
    let mut answer = Answer { address: None, lives: 0 };
    for kind in [RecordType::A, RecordType::AAAA] {
        for _ in 0..TRIES {
            if let Some(found) = ask_once(&gateway, name.as_str(), kind).await {
                answer = found;
                break;
            }
        }
        if answer.address.is_some() {
            break;
        }
    }
    let lives = Duration::from_secs(answer.lives.into()).clamp(SHORTEST, LONGEST);
    Known { address: answer.address, until: Instant::now() + lives }
}

async fn ask_once(gateway: &Arc<Gateway>, name: &str, kind: RecordType) -> Option<Answer> {
    let id = u16::from_ne_bytes(random());
    let (packet, answer) = gateway.lookups.begin(name, kind, id)?;
    let outgoing =
        Outgoing { owner: Lookups::OWNER, remote: SOME_RESOLVER, flags: Flags::default().with_dns(), packet };
    let (gateway, receiver) = (gateway.clone(), Receiver::Lookups(gateway.lookups.clone()));
    // A task of its own: the turn must not be dropped while it writes.
    let sent = tokio::spawn(async move {
        let mut turn = gateway.turn().await;
        if turn.ready().await {
            turn.send(outgoing, &receiver).await;
        }
    });
    sent.await.ok()?;
    timeout(TRY, answer).await.ok()?.ok()
}
