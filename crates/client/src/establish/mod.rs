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

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use culvert_obfuscation::Seed;
use culvert_protocol::TunnelProtocol;
use culvert_ssh::ServerKind;
use culvert_transport::Network;
use tokio::sync::{Semaphore, watch};

pub use attempt::EstablishError;
pub(crate) use attempt::Established;
pub use host::{Feed, Host, NoFeed};
pub(crate) use recall::Probation;
pub(crate) use search::{Deadline, Failure, establish};
pub use select::SPOKEN;
pub(crate) use select::is_allowed;
pub(crate) use servers::{Server, Servers};
pub(crate) use settings::{Settings, wanted_tunnels};
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
}

impl Lessons {
    /// Another network: what was seen on the last one says nothing, but these protocols worked on this one before.
    pub(crate) fn change_network(&self, worked: impl IntoIterator<Item = TunnelProtocol>) {
        let mut experience = Experience::default();
        worked.into_iter().for_each(|protocol| experience.worked(protocol));
        self.lock().experience = experience;
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

    fn note_surprising(&self, id: ServerId) {
        note(&mut self.lock().surprising, id);
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(ids: &mut BTreeSet<ServerId>, id: ServerId) {
    if ids.len() >= MOST_REMEMBERED {
        ids.pop_first();
    }
    ids.insert(id);
}
