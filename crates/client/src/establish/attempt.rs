//! One attempt: a plan is dialed, held off if it must be, and its tunnel's handshake made. Not whose turn it is: see `search.rs`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::api::{DialParams, HandshakeReply};
use culvert_ssh_tokio::End;
use culvert_transport::Network;
use culvert_transport::upstream::UpstreamError;
use tokio::time::{Instant, sleep, timeout};

use super::pool::Claims;
use super::search::LEAST_LIFE;
use super::{Probation, Scene, Server};
use crate::dial::{self, Connected, DialError};
use crate::notice::{DiagnosticId, Notice};
use crate::plan::{DialPlan, PlanError};
use crate::randomness::random;
use crate::reports::FailedTunnel;
use crate::store::ServerId;
use crate::tunnel::{ApiClient, ApiError, LivenessError, LivenessSizes, test_liveness};

/// Another attempt's handshake is waited for at least so long, and for as long as this one's dial took, but no longer: it may
/// be one that never ends.
const LEAST_TURN: Duration = Duration::from_millis(500);

/// What a server that lets in has left to do should not take longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A tunnel that is ready for flows.
pub(crate) struct Established {
    pub(crate) id: ServerId,
    pub(crate) server: Server,
    pub(crate) plan: DialPlan,
    pub(crate) connected: Connected,
    pub(crate) api: ApiClient,
    pub(crate) handshake: Option<HandshakeReply>,
    /// How it was made, for reports.
    pub(crate) dial: DialParams,
    /// For the plan to be used again.
    pub(crate) probation: Probation,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The dial failed.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The handshake failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The tunnel carries nothing.
    #[error(transparent)]
    Liveness(#[from] LivenessError),
}

impl EstablishError {
    /// True when the entry or the settings are at fault, which no further attempt mends.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Plan(_) => true,
            Self::Dial(error) => {
                matches!(error, DialError::Entry(_) | DialError::Transform(_) | DialError::Ident(_))
            }
            Self::Api(_) | Self::Liveness(_) => false,
        }
    }

    /// True when the server does not negotiate as the reference's does.
    pub(super) fn is_misprediction(&self) -> bool {
        let Self::Dial(DialError::Ssh(ended)) = self else { return false };
        matches!(*ended.0, End::Protocol(culvert_ssh::Error::Mispredicted))
    }

    /// What is wrong with the user's proxy, if that is why: nothing that another server would not run into too.
    pub(super) fn upstream(&self) -> Option<&UpstreamError> {
        let Self::Dial(DialError::Transport(error)) = self else { return None };
        error.upstream().filter(|error| !error.blames_target())
    }

    /// True when this machine has no way out at all.
    pub(super) fn is_no_network(&self) -> bool {
        let Self::Dial(DialError::Transport(culvert_transport::DialError::Connect(error))) = self else {
            return false;
        };
        matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown)
    }
}

/// What is dialed, and as which candidate.
pub(super) struct Attempt {
    pub(super) scene: Arc<Scene>,
    pub(super) id: ServerId,
    pub(super) server: Server,
    pub(super) plan: DialPlan,
    pub(super) place: Place,
    pub(super) limit: Duration,
    /// Ends other attempts to the same server: it keeps one tunnel of a session, the one that logged in last.
    pub(super) claims: Claims,
}

/// The candidate's place in the establishment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) estimate: u32,
    pub(super) first_fronted: u32,
    pub(super) moved: u32,
}

/// An attempt that is still under way: dropped then, it had to make room for another, or another has won.
struct Unfinished<'a> {
    attempt: &'a Attempt,
    since: Instant,
}

impl Unfinished<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let after = self.since.elapsed();
        // A younger one says nothing about its server.
        if after >= LEAST_LIFE {
            self.attempt.record(&format!("given up unfinished after {} s", after.as_secs()));
        }
    }
}

impl Attempt {
    /// Runs the attempt over `network`.
    pub(super) async fn run(self, network: Arc<dyn Network>) -> Result<Established, EstablishError> {
        let unfinished = Unfinished { attempt: &self, since: Instant::now() };
        let made = self.make_tunnel(network).await;
        unfinished.forget();
        match made {
            Ok((connected, api, handshake)) => {
                let dial = self.dial_params(Some(&connected));
                let Self { id, server, plan, scene, .. } = self;
                let probation = scene.probation(id, &server.entry, &plan);
                Ok(Established { id, server, plan, connected, api, handshake, dial, probation })
            }
            Err(error) => {
                if self.plan.steering.is_some() {
                    self.scene.lessons.steer_no_more(&self.server.entry, self.plan.protocol);
                }
                self.record(&error.to_string());
                Err(error)
            }
        }
    }

    async fn make_tunnel(
        &self,
        network: Arc<dyn Network>,
    ) -> Result<(Connected, ApiClient, Option<HandshakeReply>), EstablishError> {
        let scene = self.scene.clone();
        let entry = &self.server.entry;
        scene.notices.emit(Notice::ConnectingServer(self.details(None)));
        let mut connected = dial::dial(&self.plan, entry, &scene.credentials, &network, self.limit).await?;
        self.claims.claim(self.plan.hold_off.unwrap_or_default() + HANDSHAKE);
        self.hold_off().await;
        scene.notices.emit(Notice::ConnectedServer(self.details(Some(&connected))));
        // Servers take note of handshakes: those that dial slower than another should make none.
        let turn = timeout(connected.duration.max(LEAST_TURN), scene.handshakes.acquire()).await;
        let padding = Prng::new(&self.plan.api_padding_seed);
        let mut api = ApiClient::new(connected.handle.clone(), entry, &scene.config, padding);
        let tested = self.test_liveness(&mut connected).await?;
        let handshake = if scene.config.api.enabled {
            let tokens = scene.config.identity.authorizations.iter().map(|token| token.expose().clone());
            let dial = self.dial_params(Some(&connected));
            let reply = api.handshake(entry, dial, tokens.collect()).await?;
            self.note_steering(&reply);
            Some(reply)
        } else {
            if !tested {
                connected.authenticated().await?;
            }
            None
        };
        drop(turn);
        Ok((connected, api, handshake))
    }

    /// Stores what a server will want to know of a failure, if it does.
    fn record(&self, error: &str) {
        let scene = &self.scene;
        let failed = FailedTunnel {
            session_id: scene.credentials.session_id.as_str(),
            tag: &self.server.entry.tag(),
            dial: self.dial_params(None),
            error,
            bytes: None,
        };
        failed.store(&scene.reports, &scene.config, &mut Prng::new(&Seed::from_bytes(random())));
    }

    /// Moves some bytes, where the parameters want that, before the tunnel counts; whether there was a test. The
    /// sizes repeat with the plan.
    async fn test_liveness(&self, connected: &mut Connected) -> Result<bool, EstablishError> {
        let is_first = self.tunnels() == 0;
        let test = self.scene.config.parameters.liveness.test_of(self.plan.protocol, is_first);
        let seed = &self.plan.liveness_seed;
        let sizes = LivenessSizes::drawn(&test, seed);
        if sizes.is_none() {
            return Ok(false);
        }
        connected.authenticated().await?;
        let tested = timeout(self.limit, test_liveness(&connected.handle, sizes, seed)).await;
        tested.map_err(|_| DialError::TimedOut(self.limit))??;
        Ok(true)
    }

    /// Through a front, a server tells at which of the front's addresses it is better dialed.
    fn note_steering(&self, reply: &HandshakeReply) {
        if let Ok(address) = reply.steering_ip.parse() {
            let fronting = &self.scene.config.parameters.fronting;
            self.scene.lessons.steer(&self.server.entry, self.plan.protocol, address, fronting);
        }
    }

    async fn hold_off(&self) {
        if let Some(duration) = self.plan.hold_off {
            let diagnostic_id = DiagnosticId::from_tag(self.server.entry.tag().as_str());
            self.scene.notices.emit(Notice::HoldOffTunnel { diagnostic_id, duration });
            sleep(duration).await;
        }
    }
}
