//! From nothing to a tunnel: candidates in a good order, each with a protocol that may work, several dialed side by side, in
//! rounds, until one has a tunnel whose handshake is done. Not what happens to the tunnel then.
//!
//! Source: PROTOCOL.md 8 for times. The race and its patience are our own.

mod attempt;
mod candidates;
mod host;
mod patience;
mod pool;
mod recall;
mod report;
mod search;
mod select;
mod servers;
mod settings;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use culvert_obfuscation::Seed;
use culvert_protocol::parameters::Fronting;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::ServerKind;
use culvert_transport::Network;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub use attempt::EstablishError;
pub(crate) use attempt::Established;
pub use host::{Feed, Host, NoFeed};
pub(crate) use recall::Probation;
pub(crate) use search::{Deadline, Failure, establish};
pub use select::SPOKEN;
pub(crate) use select::{is_allowed, is_fronted};
pub(crate) use servers::{Server, Servers};
pub(crate) use settings::{Settings, provider_is_meant, wanted_tunnels};
pub(crate) use standing::Experience;

use crate::config::Config;
use crate::controls::NetworkEvents;
use crate::dial::Credentials;
use crate::notice::Notices;
use crate::store::{ServerId, Store};

/// Servers of which something is remembered beyond the store; a run meets few that are worth it.
const MOST_REMEMBERED: usize = 1024;

/// What an establishment works with.
pub(crate) struct Scene {
    pub(crate) config: Arc<Config>,
    pub(crate) settings: Settings,
    pub(crate) credentials: Credentials,
    pub(crate) notices: Notices,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) servers: Servers,
    /// Where failures are recorded for the server.
    pub(crate) reports: Store,
    pub(crate) host: Host,
    pub(crate) feed: Arc<dyn Feed>,
    /// What happens to the network meanwhile.
    pub(crate) changes: watch::Receiver<NetworkEvents>,
    pub(crate) lessons: Lessons,
    /// All choices come from it, but for key material.
    pub(crate) seed: Seed,
    /// Servers to which there are tunnels already.
    pub(crate) in_use: BTreeSet<ServerId>,
    /// One handshake at a time: servers count them.
    pub(crate) handshakes: Semaphore,
}

impl Scene {
    /// Limits for the first candidates that none can keep are none.
    pub(crate) fn without_vain_limits(mut self) -> Self {
        let rules = &self.settings.rules;
        let [first, _] = rules.allowed();
        if rules.has_initial() && self.servers.ids(&rules.region, first).is_empty() {
            self.settings.rules.initial = select::InitialLimit::default();
        }
        self
    }
}

/// What a client has learned in this run. Cheap to clone; all clones learn together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lessons(Arc<Mutex<Learned>>);

#[derive(Debug, Default)]
struct Learned {
    experience: Experience,
    /// Servers whose choice of algorithms is not the reference's.
    surprising: BTreeSet<ServerId>,
    /// Servers that cannot be dialed whatever the network does.
    useless: BTreeSet<ServerId>,
    /// Where fronts of this network are better dialed, by provider and protocol, and until when that holds.
    steering: BTreeMap<(String, TunnelProtocol), (IpAddr, Instant)>,
    /// Servers whose last dial on this network went nowhere.
    stalled: BTreeSet<ServerId>,
}

impl Lessons {
    /// Another network: what was seen on the last one says nothing, but these protocols worked on this one before.
    pub(crate) fn change_network(&self, worked: impl IntoIterator<Item = TunnelProtocol>) {
        let mut experience = Experience::default();
        worked.into_iter().for_each(|protocol| experience.worked(protocol));
        let mut learned = self.lock();
        learned.experience = experience;
        learned.stalled.clear();
        learned.steering.clear();
    }

    /// Of protocols and the path.
    pub(crate) fn experience(&self) -> Experience {
        self.lock().experience.clone()
    }

    fn learn(&self, lesson: impl FnOnce(&mut Experience)) {
        lesson(&mut self.lock().experience);
    }

    fn kind(&self, id: ServerId) -> ServerKind {
        if self.lock().surprising.contains(&id) { ServerKind::Any } else { ServerKind::Predictable }
    }

    fn is_useless(&self, id: ServerId) -> bool {
        self.lock().useless.contains(&id)
    }

    fn note_useless(&self, id: ServerId) {
        note(&mut self.lock().useless, id);
    }

    /// Whether a server has said nothing, or stopped, since it last served: what worked with it before does not make it first.
    fn has_stalled(&self, id: ServerId) -> bool {
        self.lock().stalled.contains(&id)
    }

    fn note_stalled(&self, id: ServerId) {
        note(&mut self.lock().stalled, id);
    }

    fn note_served(&self, id: ServerId) {
        self.lock().stalled.remove(&id);
    }

    /// Where a server's front is better dialed.
    fn steering(&self, entry: &ServerEntry, protocol: TunnelProtocol) -> Option<IpAddr> {
        let (address, until) = *self.lock().steering.get(&(front_of(entry)?, protocol))?;
        (until > Instant::now()).then_some(address)
    }

    /// A front has said where it is better dialed, for as long.
    fn steer(&self, entry: &ServerEntry, protocol: TunnelProtocol, to: IpAddr, of: &Fronting) {
        let Some(front) = front_of(entry).filter(|_| is_fronted(protocol)) else { return };
        let mut learned = self.lock();
        let now = Instant::now();
        learned.steering.retain(|_, (_, until)| *until > now);
        let most = usize::try_from(of.steering_ip_cache_max_entries).unwrap_or(usize::MAX);
        if learned.steering.len() < most.min(MOST_REMEMBERED) {
            learned.steering.insert((front, protocol), (to, now + of.steering_ip_cache_ttl));
        }
    }

    /// It has not been of use.
    fn steer_no_more(&self, entry: &ServerEntry, protocol: TunnelProtocol) {
        if let Some(front) = front_of(entry) {
            self.lock().steering.remove(&(front, protocol));
        }
    }

    fn note_surprising(&self, id: ServerId) {
        note(&mut self.lock().surprising, id);
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn front_of(entry: &ServerEntry) -> Option<String> {
    entry.text("frontingProviderID").filter(|id| !id.is_empty()).map(str::to_owned)
}

fn note(ids: &mut BTreeSet<ServerId>, id: ServerId) {
    if ids.len() >= MOST_REMEMBERED {
        ids.pop_first();
    }
    ids.insert(id);
}
