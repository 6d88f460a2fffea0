//! Which plans of earlier dials are used again, and what becomes of them: the rules of `plan::replay` between search, tunnel and store.

use std::time::{Duration, SystemTime};

use culvert_obfuscation::Prng;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh_tokio::Meter;
use culvert_transport::Endpoint;
use culvert_transport::upstream::ProxyUrl;
use tokio::time::{Instant, sleep};

use super::{EstablishError, Scene, Servers};
use crate::config::Config;
use crate::notice::DialOrigin;
use crate::plan::replay::{self, Circumstances, Fate, Verdict};
use crate::plan::{DialPlan, Earlier, Fingerprint, StoredPlan};
use crate::store::ServerId;

/// Bytes that a plan needs to prove itself are looked for so often.
const LOOK: Duration = Duration::from_secs(1);

impl Scene {
    /// The plan by which a server is dialed again. One that is of no more use is dropped; one that is not for the protocols of this
    /// turn may have another.
    pub(super) fn recall(
        &self,
        id: ServerId,
        entry: &ServerEntry,
        protocols: &[TunnelProtocol],
        coin: &mut Prng,
    ) -> Option<Earlier> {
        if self.config.establish.replay_off {
            return None;
        }
        let (servers, network) = (&self.servers, &self.config.network_id);
        let stored = servers.plan(network, id)?;
        match replay::usable(&stored, &circumstances(&self.config, entry), &self.config.parameters, coin) {
            Verdict::Replay(earlier) => Some(earlier).filter(|earlier| protocols.contains(&earlier.protocol)),
            Verdict::Discard(reason) => {
                self.notices.info(format!("the plan that worked before is not used again: {reason}"));
                servers.drop_plan(network, id);
                None
            }
        }
    }

    /// A dial has failed.
    pub(super) fn note_failure(&self, id: ServerId, origin: DialOrigin, blames_plan: bool, coin: &mut Prng) {
        if replay::after_failure(origin, blames_plan, &self.config.parameters, coin) == Fate::Drop {
            self.notices.info("the plan that worked before is dropped: it failed");
            self.servers.drop_plan(&self.config.network_id, id);
        }
    }

    /// What is to be stored of a plan once its tunnel has proved it good.
    pub(super) fn probation(&self, id: ServerId, entry: &ServerEntry, plan: &DialPlan) -> Probation {
        Probation {
            servers: self.servers.clone(),
            network: self.config.network_id.clone(),
            id,
            plan: replay::after_success(plan.protocol, &plan.choices, &circumstances(&self.config, entry)),
            since: Instant::now(),
        }
    }
}

/// A plan whose tunnel is up.
pub(crate) struct Probation {
    servers: Servers,
    network: String,
    id: ServerId,
    plan: StoredPlan,
    since: Instant,
}

impl Probation {
    /// Stores the plan once the tunnel has lived for as long, and moved as much, as parameters ask for. Never returns.
    pub(crate) async fn pass(&self, parameters: &Parameters, traffic: &Meter) {
        if !replay::is_off(parameters) {
            sleep(parameters.replay.target_tunnel_duration).await;
            while !replay::has_proved(parameters, traffic.totals(), self.since.elapsed()) {
                sleep(LOOK).await;
            }
            self.servers.set_plan(&self.network, self.id, &self.plan.write());
        }
        std::future::pending().await
    }
}

impl EstablishError {
    /// Whether the failure may be due to how the dial looked.
    pub(super) fn blames_plan(&self) -> bool {
        match self {
            Self::Plan(_) => true,
            Self::Dial(error) => !error.keeps_plan(),
            // What starves a tunnel may have been told by its look.
            Self::Liveness(_) => true,
            // The way was good as far as the server, which has its reasons.
            Self::Api(error) => !error.is_refusal(),
        }
    }
}

fn circumstances(config: &Config, entry: &ServerEntry) -> Circumstances {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let beside = config.upstream.as_ref().map(|upstream| proxy(&upstream.proxy)).unwrap_or_default();
    let settings = Fingerprint::of_settings(&config.parameters, &beside);
    Circumstances { now, settings, entry: Fingerprint::of_entry(entry) }
}

/// What is fit for one proxy may not be for another, or for none.
fn proxy(url: &ProxyUrl) -> String {
    match &url.endpoint {
        Endpoint::Address(address) => format!("{:?} {address}", url.scheme),
        Endpoint::Name(name, port) => format!("{:?} {name}:{port}", url.scheme),
    }
}
