//! What an entry's capability list means, and which port a protocol dials. PROTOCOL.md 5.6.

use super::ServerEntry;
use crate::tunnel_protocol::{BaseProtocol, PortSource, TunnelProtocol};

/// The server takes API requests over SSH, and takes them packed.
pub const SSH_API_REQUESTS: &str = "ssh-api-requests";
/// The server has the legacy web API.
pub const UNTUNNELED_WEB_API: &str = "handshake";

const PASSTHROUGH: &str = "-PASSTHROUGH";
const PASSTHROUGH_V2: &str = "-PASSTHROUGH-v2";
const TACTICS: &str = "-TACTICS";
/// QUIC without the reference's older, Google kind.
pub const QUIC_V1: &str = "QUICv1";

/// Why a protocol cannot be dialled with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialPortError {
    /// The entry does not list the protocol.
    #[error("the server entry does not offer {protocol}")]
    Unsupported {
        /// The protocol.
        protocol: TunnelProtocol,
    },
    /// The entry lists the protocol without its port.
    #[error("the server entry offers {protocol} but has no {field}")]
    NoPort {
        /// The protocol.
        protocol: TunnelProtocol,
        /// The member that is missing.
        field: &'static str,
    },
}

impl ServerEntry {
    /// True if the server offers the protocol.
    #[must_use]
    pub fn supports(&self, protocol: TunnelProtocol) -> bool {
        self.has_capability(protocol.capability())
    }

    /// The protocols that the server offers, in selection-list order.
    pub fn supported_protocols(&self) -> impl Iterator<Item = TunnelProtocol> {
        TunnelProtocol::all().filter(|protocol| self.supports(*protocol))
    }

    /// The protocols over which the server takes untunneled tactics requests.
    pub fn tactics_protocols(&self) -> impl Iterator<Item = TunnelProtocol> {
        TunnelProtocol::all().filter(|protocol| {
            let is_meek = protocol.base().traits().meek.is_some();
            is_meek && self.has_capability(&format!("{}{TACTICS}", protocol.capability()))
        })
    }

    /// True if API requests may go over SSH and be packed.
    #[must_use]
    pub fn takes_ssh_api_requests(&self) -> bool {
        self.has_capability(SSH_API_REQUESTS)
    }

    /// True if only the protocol's legacy passthrough message is understood.
    #[must_use]
    pub fn uses_legacy_passthrough(&self, protocol: TunnelProtocol) -> bool {
        self.texts("capabilities")
            .any(|listed| listed.strip_suffix(PASSTHROUGH) == Some(protocol.capability()))
    }

    /// True if no older kind of QUIC may be dialled.
    #[must_use]
    pub fn only_quic_v1(&self) -> bool {
        let quic = BaseProtocol::Quic.traits().capability;
        self.texts("capabilities").any(|listed| listed == QUIC_V1)
            && !self.texts("capabilities").any(|listed| listed == quic)
    }

    /// The port to dial for a protocol.
    ///
    /// # Errors
    /// The entry does not offer the protocol, or lacks its port.
    pub fn dial_port(&self, protocol: TunnelProtocol) -> Result<u16, DialPortError> {
        if !self.supports(protocol) {
            return Err(DialPortError::Unsupported { protocol });
        }
        let (port, field) = match protocol.port_source() {
            PortSource::Fixed(port) => return Ok(port),
            PortSource::Member(field) => (self.port(field), field),
            PortSource::MemberOr(first, second) => (self.port(first).or_else(|| self.port(second)), first),
        };
        port.ok_or(DialPortError::NoPort { protocol, field })
    }

    fn has_capability(&self, wanted: &str) -> bool {
        self.texts("capabilities").any(|listed| grants(listed, wanted))
    }
}

/// True if a listed capability is the wanted one, or says more than it.
fn grants(listed: &str, wanted: &str) -> bool {
    if listed == wanted {
        return true;
    }
    let quic = BaseProtocol::Quic.traits().capability;
    let plain = listed.replace(PASSTHROUGH_V2, "").replace(PASSTHROUGH, "");
    if plain == wanted || (plain == QUIC_V1 && wanted == quic) {
        return true;
    }
    // Servers with these also answer TLS-OSSH on the same port.
    let also_tls = [BaseProtocol::UnfrontedMeekHttps, BaseProtocol::UnfrontedMeekSessionTicket];
    wanted == BaseProtocol::TlsOssh.traits().capability
        && also_tls.iter().any(|base| listed.strip_suffix(PASSTHROUGH_V2) == Some(base.traits().capability))
}
