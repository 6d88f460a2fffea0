//! From nothing to a tunnel whose handshake is done.

use std::time::Duration;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::api::{DialParams, HandshakeReply};
use culvert_ssh::ServerKind;
use culvert_ssh_tokio::End;
use culvert_transport::upstream::UpstreamError;
use tokio::time::{Instant, timeout_at};

use super::{Controller, FIRST_PAUSE, LONGEST_PAUSE, RunError};
use crate::dial::{self, Connected, DialError};
use crate::notice::{DiagnosticId, DialDetails, DialNetworkDetails, DialOrigin, FreeText, Notice};
use crate::plan::{DialPlan, PlanError, Planner, Wanted, meek_report, quic_look, tls_report};
use crate::randomness::random;
use crate::tunnel::{ApiClient, ApiError};

/// Time for one dial. PROTOCOL.md 8.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Time in which a tunnel is to be established, unless the config says otherwise.
pub(super) const ESTABLISH_LIMIT: Duration = Duration::from_secs(300);

/// A tunnel that is ready for flows.
pub(super) struct Established {
    pub(super) plan: DialPlan,
    pub(super) connected: Connected,
    pub(super) api: ApiClient,
    pub(super) handshake: Option<HandshakeReply>,
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
}

impl EstablishError {
    /// True when the entry or the settings are at fault, which no further attempt mends.
    fn is_hopeless(&self) -> bool {
        match self {
            Self::Plan(_) => true,
            Self::Dial(error) => {
                matches!(error, DialError::Entry(_) | DialError::Transform(_) | DialError::Ident(_))
            }
            Self::Api(_) => false,
        }
    }
}

impl EstablishError {
    /// What is wrong with the user's proxy, if that is why: nothing that another server would not run into too.
    fn upstream(&self) -> Option<&UpstreamError> {
        let Self::Dial(DialError::Transport(error)) = self else { return None };
        error.upstream().filter(|error| !error.blames_target())
    }

    /// True when the server does not negotiate as the reference's does.
    fn is_misprediction(&self) -> bool {
        let Self::Dial(DialError::Ssh(ended)) = self else { return false };
        matches!(*ended.0, End::Protocol(culvert_ssh::Error::Mispredicted))
    }
}

impl Controller {
    /// Tries until a tunnel is up, time is over, or trying is pointless.
    pub(super) async fn establish(&self) -> Result<Established, RunError> {
        let limit = self.config.establish.timeout;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut last = "none".to_owned();
        let attempts = self.attempts(&mut last);
        let established = match deadline {
            Some(deadline) => timeout_at(deadline, attempts).await,
            None => Ok(attempts.await),
        };
        match established {
            Ok(result) => Ok(result?),
            Err(_) => {
                let after = limit.unwrap_or(ESTABLISH_LIMIT);
                self.notices.emit(Notice::EstablishTunnelTimeout { timeout: after });
                Err(RunError::Timeout { after, last })
            }
        }
    }

    /// Attempts with growing pauses, one protocol after the other.
    async fn attempts(&self, last: &mut String) -> Result<Established, EstablishError> {
        let mut pause = FIRST_PAUSE;
        let mut number = 0;
        loop {
            for protocol in &self.protocols {
                number += 1;
                match self.attempt(*protocol, number).await {
                    Ok(established) => return Ok(established),
                    Err(error) if error.is_hopeless() => return Err(error),
                    Err(error) => {
                        if error.is_misprediction() {
                            self.server_kind.send_replace(ServerKind::Any);
                        }
                        if let Some(error) = error.upstream() {
                            self.notices.emit(Notice::UpstreamProxyError { message: FreeText::new(error) });
                        }
                        self.notices.info(format!("{protocol}: {error}"));
                        *last = error.to_string();
                    }
                }
            }
            let mut jitter = Prng::new(&Seed::from_bytes(random()));
            tokio::time::sleep(jitter.period(pause / 2, pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, protocol: TunnelProtocol, number: u32) -> Result<Established, EstablishError> {
        let seed = Seed::from_bytes(random());
        let wanted = match self.config.ssh.any_cipher {
            true => Wanted::Any,
            false => Wanted::for_this_processor(),
        };
        let server = *self.server_kind.borrow();
        let planner =
            Planner { entry: &self.server, parameters: &self.config.parameters, seed, wanted, server };
        let plan = planner.plan(protocol)?;
        self.notices.emit(Notice::ConnectingServer(self.details(&plan, number, None)));
        let limit = self.scaled(self.config.establish.connect_timeout.unwrap_or(CONNECT_LIMIT));
        let mut connected = dial::dial(&plan, &self.server, &self.credentials, &self.network, limit).await?;
        self.notices.emit(Notice::ConnectedServer(self.details(&plan, number, Some(&connected))));
        let padding = Prng::new(&plan.api_padding_seed);
        let mut api = ApiClient::new(connected.handle.clone(), &self.server, &self.config, padding);
        let handshake = if self.config.api.enabled {
            let tokens = self.config.identity.authorizations.iter().map(|token| token.expose().clone());
            let dial = self.dial_params(&plan, number, &connected);
            Some(api.handshake(&self.server, dial, tokens.collect()).await?)
        } else {
            connected.authenticated().await?;
            None
        };
        Ok(Established { plan, connected, api, handshake })
    }

    /// Timeouts grow on slow networks.
    fn scaled(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.config.establish.latency_multiplier.unwrap_or(1.0).clamp(1.0, 100.0))
    }

    fn dial_params(&self, plan: &DialPlan, number: u32, connected: &Connected) -> DialParams {
        let mut params = DialParams::new(plan.protocol);
        let port = self.server.dial_port(plan.protocol).unwrap_or_default();
        let milliseconds = i64::try_from(connected.duration.as_millis()).unwrap_or(i64::MAX);
        let mut numbers = vec![
            ("candidate_number", i64::from(number)),
            ("dial_duration", milliseconds),
            ("dial_port_number", i64::from(port)),
            ("established_tunnels_count", 0),
        ];
        numbers.extend(
            connected
                .ossh_padding
                .and_then(|padding| Some(("upstream_ossh_padding", i64::try_from(padding).ok()?))),
        );
        let cookie = connected.facts.meek_cookie_len.and_then(|len| i64::try_from(len).ok());
        numbers.extend(cookie.map(|len| ("meek_cookie_size", len)));
        let quic = quic_look(&plan.transport);
        let tls = tls_report(&plan.transport);
        let texts = [
            ("ssh_client_version", Some(plan.ssh.ident.as_str())),
            ("server_entry_source", Some("TARGET")),
            ("server_entry_region", self.server.region()),
            ("ossh_prefix", prefix_name(plan)),
            ("shadowsocks_prefix", plan.transport_prefix.as_deref()),
            ("tls_profile", tls.map(|(profile, _)| profile)),
            ("meek_sni_server_name", tls.and_then(|(_, name)| name)),
            ("quic_version", quic.map(|(version, _)| version.name())),
            ("quic_dial_sni_address", quic.map(|(_, name)| name)),
        ];
        // A name the table lacks is a bug that costs one field of a report, not the tunnel.
        let mut known = true;
        for (name, number) in numbers {
            known &= params.set_int(name, number).is_ok();
        }
        for (name, text) in meek_report(plan, self.server.address_text()) {
            known &= params.set_text(name, &text).is_ok();
        }
        for (name, text) in texts {
            known &= text.is_none_or(|text| params.set_text(name, text).is_ok());
        }
        debug_assert!(known, "a dial parameter has no entry in the table");
        params
    }

    fn details(&self, plan: &DialPlan, number: u32, connected: Option<&Connected>) -> Box<DialDetails> {
        let mut metrics = std::collections::BTreeMap::new();
        if let Some(connected) = connected {
            let agreed = &connected.negotiated;
            metrics.insert("SSHKeyExchange", agreed.kex.wire_name().into());
            metrics.insert("SSHCipher", agreed.cipher_s2c.wire_name().into());
            if let Some(padding) = connected.ossh_padding {
                metrics.insert("upstream_ossh_padding", padding.into());
            }
        }
        let port = self.server.dial_port(plan.protocol).ok();
        Box::new(DialDetails {
            diagnostic_id: DiagnosticId::from_tag(self.server.tag().as_str()),
            region: self.server.region().unwrap_or_default().to_owned(),
            protocol: plan.protocol.to_string(),
            candidate_number: number,
            unique_candidate_estimate: 1,
            first_fronted_meek_candidate: 0,
            candidates_moved_to_front: 0,
            established_tunnels_count: 0,
            network_type: crate::network_type(&self.config.network_id).to_owned(),
            origin: DialOrigin::Fresh,
            network: Some(DialNetworkDetails {
                ssh_client_version: Some(plan.ssh.ident.clone()),
                dial_port_number: port.map(|port| port.to_string()),
                network_latency_multiplier: self.config.establish.latency_multiplier,
                server_entry_source: Some("TARGET".to_owned()),
                ossh_prefix: prefix_name(plan).map(str::to_owned),
                dial_duration: connected.map(|connected| connected.duration),
                metrics,
                ..DialNetworkDetails::default()
            }),
        })
    }
}

fn prefix_name(plan: &DialPlan) -> Option<&str> {
    plan.obfuscated_ssh.as_ref()?.prefix.as_ref()?.name.as_str()
}
