//! What is told of an attempt: to the server in the handshake, and to the host in notices.

use culvert_protocol::api::DialParams;

use super::attempt::Attempt;
use crate::dial::Connected;
use crate::notice::{DiagnosticId, DialDetails, DialNetworkDetails, DialOrigin};
use crate::plan::{DialPlan, meek_report, quic_look, tls_report};

impl Attempt {
    /// For the handshake, and for the record of a failure. PROTOCOL.md 4.4.
    pub(super) fn dial_params(&self, connected: Option<&Connected>) -> DialParams {
        let plan = &self.plan;
        let entry = &self.server.entry;
        let mut params = DialParams::new(plan.protocol);
        let port = entry.dial_port(plan.protocol).unwrap_or_default();
        let mut numbers = vec![
            ("candidate_number", i64::from(self.place.number)),
            ("dial_port_number", i64::from(port)),
            ("established_tunnels_count", i64::from(self.tunnels())),
        ];
        if let Some(connected) = connected {
            let milliseconds = i64::try_from(connected.duration.as_millis()).unwrap_or(i64::MAX);
            numbers.push(("dial_duration", milliseconds));
            let padding = connected.ossh_padding.and_then(|padding| i64::try_from(padding).ok());
            numbers.extend(padding.map(|padding| ("upstream_ossh_padding", padding)));
            let cookie = connected.facts.meek_cookie_len.and_then(|len| i64::try_from(len).ok());
            numbers.extend(cookie.map(|len| ("meek_cookie_size", len)));
        }
        let quic = quic_look(&plan.transport);
        let tls = tls_report(&plan.transport);
        let source = self.server.source.to_string();
        let steering = plan.steering.map(|address| address.to_string());
        let texts = [
            ("steering_ip", steering.as_deref()),
            ("ssh_client_version", Some(plan.ssh.ident.as_str())),
            ("server_entry_source", Some(source.as_str())),
            ("server_entry_region", entry.region()),
            ("server_entry_timestamp", Some(self.server.received.as_str())),
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
        for (name, text) in meek_report(plan, entry.address_text()) {
            known &= params.set_text(name, &text).is_ok();
        }
        for (name, text) in texts {
            known &= text.is_none_or(|text| params.set_text(name, text).is_ok());
        }
        known &= params.set_flag("is_replay", plan.origin != DialOrigin::Fresh).is_ok();
        let ignores_change = plan.origin == DialOrigin::ReplayIgnoringChange;
        known &= params.set_flag("replay_ignored_change", ignores_change).is_ok();
        debug_assert!(known, "a dial parameter has no entry in the table");
        params
    }

    /// For notices.
    pub(super) fn details(&self, connected: Option<&Connected>) -> Box<DialDetails> {
        let (plan, entry) = (&self.plan, &self.server.entry);
        let mut metrics = std::collections::BTreeMap::new();
        if let Some(connected) = connected {
            let agreed = &connected.negotiated;
            metrics.insert("SSHKeyExchange", agreed.kex.wire_name().into());
            metrics.insert("SSHCipher", agreed.cipher_s2c.wire_name().into());
            if let Some(padding) = connected.ossh_padding {
                metrics.insert("upstream_ossh_padding", padding.into());
            }
        }
        let port = entry.dial_port(plan.protocol).ok();
        Box::new(DialDetails {
            diagnostic_id: DiagnosticId::from_tag(entry.tag().as_str()),
            region: entry.region().unwrap_or_default().to_owned(),
            protocol: plan.protocol.to_string(),
            candidate_number: self.place.number,
            unique_candidate_estimate: self.place.estimate,
            first_fronted_meek_candidate: self.place.first_fronted,
            candidates_moved_to_front: self.place.moved,
            established_tunnels_count: self.tunnels(),
            network_type: crate::network_type(&self.scene.config.network_id).to_owned(),
            origin: plan.origin,
            network: Some(DialNetworkDetails {
                ssh_client_version: Some(plan.ssh.ident.clone()),
                dial_port_number: port.map(|port| port.to_string()),
                network_latency_multiplier: Some(self.plan.latency),
                server_entry_source: Some(self.server.source.to_string()),
                server_entry_timestamp: Some(self.server.received.clone()),
                provider_id: entry.text("providerID").map(str::to_owned),
                ossh_prefix: prefix_name(plan).map(str::to_owned),
                dial_duration: connected.map(|connected| connected.duration),
                metrics,
                ..DialNetworkDetails::default()
            }),
        })
    }

    pub(super) fn tunnels(&self) -> u32 {
        u32::try_from(self.scene.in_use.len()).unwrap_or(u32::MAX)
    }
}

fn prefix_name(plan: &DialPlan) -> Option<&str> {
    plan.obfuscated_ssh.as_ref()?.prefix.as_ref()?.name.as_str()
}
