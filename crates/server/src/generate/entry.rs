//! The server entry of a new server: what a client needs to reach it. Source: PROTOCOL.md 5.1, 5.2, 5.6.

use std::net::IpAddr;

use culvert_protocol::server_entry::{EntryFields, QUIC_V1, SSH_API_REQUESTS};
use culvert_protocol::{PortSource, TunnelProtocol};
use data_encoding::BASE64;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Identity, Listeners};

pub(super) struct EntryParts<'a> {
    pub(super) tag: Zeroizing<String>,
    pub(super) address: IpAddr,
    pub(super) listeners: &'a Listeners,
    pub(super) identity: &'a Identity,
}

impl EntryParts<'_> {
    /// The hex line.
    pub(super) fn encode(&self) -> String {
        let identity = self.identity;
        let mut fields = EntryFields::default();
        fields.set("tag", self.tag.as_str());
        fields.set("ipAddress", self.address.to_string());
        fields.set("webServerSecret", identity.web_secret.as_str());
        fields.set("sshUsername", identity.user.as_str());
        fields.set("sshPassword", identity.password.as_str());
        fields.set("sshHostKey", BASE64.encode(identity.host_key.public_blob()));
        fields.set("sshObfuscatedKey", identity.obfuscated_key.as_str());
        fields.set("sshShadowsocksKey", identity.shadowsocks_key.as_str());
        if self.listeners.use_meek() {
            fields.set("meekCookieEncryptionPublicKey", identity.meek_public_key.as_str());
        }
        if self.listeners.use_tls() || self.listeners.use_meek() {
            fields.set("meekObfuscatedKey", identity.meek_obfuscated_key.as_str());
        }
        let mut capabilities = vec![Value::from(SSH_API_REQUESTS)];
        for (protocol, port) in self.listeners.iter() {
            // The older kind of QUIC, which the plain name would promise, is not spoken here.
            let capability =
                if protocol == TunnelProtocol::QUIC_OSSH { QUIC_V1 } else { protocol.capability() };
            capabilities.push(capability.into());
            match protocol.port_source() {
                PortSource::Member(member) | PortSource::MemberOr(member, _) => fields.set(member, port),
                // Fronts have their ports by convention; the entry does not say them.
                PortSource::Fixed(_) => {}
            }
        }
        fields.set("capabilities", capabilities);
        // Set by the reference for every server, fronted or not.
        fields.set("meekFrontingHosts", vec![self.address.to_string()]);
        fields.set("meekFrontingAddresses", vec![self.address.to_string()]);
        fields.set("tacticsRequestPublicKey", identity.tactics.public.as_str());
        fields.set("tacticsRequestObfuscatedKey", identity.tactics.obfuscated.as_str());
        fields.encode()
    }
}
