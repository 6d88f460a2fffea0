//! The one table of tunnel protocols: wire names, capability names and what each protocol is made of.
//!
//! Not here: how a protocol is dialled or listened for, and which of them this build can carry. PROTOCOL.md 5.6.

use std::fmt;
use std::str::FromStr;

/// A tunnel protocol as it is named in server entries, parameters and API messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelProtocol {
    via_inproxy: bool,
    base: BaseProtocol,
}

/// A protocol between a client (or the in-proxy hop before it) and a server. The order is the selection-list order of
/// PROTOCOL.md 5.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BaseProtocol {
    /// Plain SSH.
    Ssh,
    /// Obfuscated SSH.
    Ossh,
    /// Obfuscated SSH inside TLS.
    TlsOssh,
    /// Meek over HTTP, straight to the server.
    UnfrontedMeek,
    /// Meek over HTTPS, straight to the server.
    UnfrontedMeekHttps,
    /// Meek over HTTPS with an obfuscated session ticket.
    UnfrontedMeekSessionTicket,
    /// Meek over HTTPS through a CDN.
    FrontedMeek,
    /// Meek over HTTP through a CDN.
    FrontedMeekHttp,
    /// Obfuscated SSH over QUIC.
    Quic,
    /// Meek over QUIC through a CDN.
    FrontedMeekQuic,
    /// Refraction networking, TapDance: named by the reference, never selected.
    Tapdance,
    /// Refraction networking, Conjure.
    Conjure,
    /// Obfuscated SSH inside Shadowsocks.
    Shadowsocks,
}

/// The IP protocol that carries a tunnel protocol on its last hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// One TCP flow, or several for meek.
    Tcp,
    /// QUIC over UDP.
    Udp,
}

/// How meek requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeekKind {
    /// Plain HTTP.
    Http,
    /// HTTP inside TLS.
    Https,
    /// HTTP/3.
    Quic,
}

/// A property that some protocols have and that other code asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Goes through a CDN: the dialled address is not the server's.
    Fronted,
    /// Uses refraction networking: the destination is not in the server entry.
    Refraction,
    /// A direct dial may go through an HTTP or SOCKS proxy of the user.
    UpstreamProxy,
    /// Untunneled tactics requests may be made over it.
    Tactics,
    /// Costs a weak device much: few are dialled at a time.
    Intensive,
    /// Its first packets may be fragmented.
    Fragmentor,
    /// The server relays unrecognised peers to another host.
    Passthrough,
    /// The server may manipulate the packets of its TCP handshake.
    PacketManipulation,
    /// Dialled only if limits name it.
    DefaultDisabled,
    /// Known by name, never dialled.
    NeverSelected,
    /// Hides in TLS 1.2 session tickets.
    SessionTicket,
}

/// Where a server entry says which port to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSource {
    /// The named member.
    Member(&'static str),
    /// The first named member, or the second when the first is absent.
    MemberOr(&'static str, &'static str),
    /// A port that fronts have by convention.
    Fixed(u16),
}

/// One row of the table.
#[derive(Debug)]
pub struct Traits {
    /// Name on the wire.
    pub name: &'static str,
    /// What a server entry lists when the server has it: the name without a final `-OSSH` (PROTOCOL.md 5.6).
    pub capability: &'static str,
    /// Name and capability behind an in-proxy first hop, where that exists, and the port then dialled.
    pub inproxy: Option<(&'static str, PortSource)>,
    /// The port dialled directly.
    pub port: PortSource,
    /// The IP protocol of the last hop.
    pub carrier: Carrier,
    /// The kind of meek, if it is meek.
    pub meek: Option<MeekKind>,
    /// Its other properties.
    pub features: &'static [Feature],
}

use Feature::{
    DefaultDisabled, Fragmentor, Fronted, Intensive, NeverSelected, PacketManipulation, Passthrough,
    Refraction, SessionTicket, Tactics, UpstreamProxy,
};
use PortSource::{Fixed, Member, MemberOr};

#[rustfmt::skip]
const TABLE: [(BaseProtocol, Traits); 13] = [
    (BaseProtocol::Ssh, Traits {
        name: "SSH", capability: "SSH",
        inproxy: Some(("INPROXY-WEBRTC-SSH", Member("inproxySSHPort"))),
        port: Member("sshPort"), carrier: Carrier::Tcp, meek: None,
        features: &[UpstreamProxy, Fragmentor, PacketManipulation],
    }),
    (BaseProtocol::Ossh, Traits {
        name: "OSSH", capability: "OSSH",
        inproxy: Some(("INPROXY-WEBRTC-OSSH", Member("inproxyOSSHPort"))),
        port: Member("sshObfuscatedPort"), carrier: Carrier::Tcp, meek: None,
        features: &[UpstreamProxy, Fragmentor, PacketManipulation],
    }),
    (BaseProtocol::TlsOssh, Traits {
        name: "TLS-OSSH", capability: "TLS",
        inproxy: Some(("INPROXY-WEBRTC-TLS-OSSH", MemberOr("inproxyTlsOSSHPort", "inproxyMeekPort"))),
        port: MemberOr("tlsOSSHPort", "meekServerPort"), carrier: Carrier::Tcp, meek: None,
        features: &[UpstreamProxy, Fragmentor, Passthrough, PacketManipulation],
    }),
    (BaseProtocol::UnfrontedMeek, Traits {
        name: "UNFRONTED-MEEK-OSSH", capability: "UNFRONTED-MEEK",
        inproxy: Some(("INPROXY-WEBRTC-UNFRONTED-MEEK-OSSH", Member("inproxyMeekPort"))),
        port: Member("meekServerPort"), carrier: Carrier::Tcp, meek: Some(MeekKind::Http),
        features: &[UpstreamProxy, Intensive, Fragmentor, Passthrough, PacketManipulation],
    }),
    (BaseProtocol::UnfrontedMeekHttps, Traits {
        name: "UNFRONTED-MEEK-HTTPS-OSSH", capability: "UNFRONTED-MEEK-HTTPS",
        inproxy: Some(("INPROXY-WEBRTC-UNFRONTED-MEEK-HTTPS-OSSH", Member("inproxyMeekPort"))),
        port: Member("meekServerPort"), carrier: Carrier::Tcp, meek: Some(MeekKind::Https),
        features: &[UpstreamProxy, Tactics, Intensive, Fragmentor, Passthrough, PacketManipulation],
    }),
    (BaseProtocol::UnfrontedMeekSessionTicket, Traits {
        name: "UNFRONTED-MEEK-SESSION-TICKET-OSSH", capability: "UNFRONTED-MEEK-SESSION-TICKET",
        inproxy: Some(("INPROXY-WEBRTC-UNFRONTED-MEEK-SESSION-TICKET-OSSH", Member("inproxyMeekPort"))),
        port: Member("meekServerPort"), carrier: Carrier::Tcp, meek: Some(MeekKind::Https),
        features: &[UpstreamProxy, Tactics, Intensive, Fragmentor, Passthrough, PacketManipulation, SessionTicket],
    }),
    (BaseProtocol::FrontedMeek, Traits {
        name: "FRONTED-MEEK-OSSH", capability: "FRONTED-MEEK",
        inproxy: Some(("INPROXY-WEBRTC-FRONTED-MEEK-OSSH", Fixed(443))),
        port: Fixed(443), carrier: Carrier::Tcp, meek: Some(MeekKind::Https),
        features: &[Fronted, UpstreamProxy, Tactics, Intensive, Fragmentor],
    }),
    (BaseProtocol::FrontedMeekHttp, Traits {
        name: "FRONTED-MEEK-HTTP-OSSH", capability: "FRONTED-MEEK-HTTP",
        inproxy: Some(("INPROXY-WEBRTC-FRONTED-MEEK-HTTP-OSSH", Fixed(80))),
        port: Fixed(80), carrier: Carrier::Tcp, meek: Some(MeekKind::Http),
        features: &[Fronted, UpstreamProxy, Tactics, Intensive, Fragmentor],
    }),
    (BaseProtocol::Quic, Traits {
        name: "QUIC-OSSH", capability: "QUIC",
        inproxy: Some(("INPROXY-WEBRTC-QUIC-OSSH", Member("inproxyQUICPort"))),
        port: Member("sshObfuscatedQUICPort"), carrier: Carrier::Udp, meek: None,
        features: &[Intensive],
    }),
    (BaseProtocol::FrontedMeekQuic, Traits {
        name: "FRONTED-MEEK-QUIC-OSSH", capability: "FRONTED-MEEK-QUIC",
        inproxy: Some(("INPROXY-WEBRTC-FRONTED-MEEK-QUIC-OSSH", Fixed(443))),
        port: Fixed(443), carrier: Carrier::Udp, meek: Some(MeekKind::Quic),
        features: &[Fronted, Tactics, Intensive, DefaultDisabled],
    }),
    (BaseProtocol::Tapdance, Traits {
        name: "TAPDANCE-OSSH", capability: "TAPDANCE", inproxy: None,
        port: Member("sshObfuscatedTapdancePort"), carrier: Carrier::Tcp, meek: None,
        features: &[Refraction, Intensive, DefaultDisabled, NeverSelected],
    }),
    (BaseProtocol::Conjure, Traits {
        name: "CONJURE-OSSH", capability: "CONJURE", inproxy: None,
        port: Member("sshObfuscatedConjurePort"), carrier: Carrier::Tcp, meek: None,
        features: &[Refraction, Intensive, Fragmentor, DefaultDisabled],
    }),
    (BaseProtocol::Shadowsocks, Traits {
        name: "SHADOWSOCKS-OSSH", capability: "SHADOWSOCKS",
        inproxy: Some(("INPROXY-WEBRTC-SHADOWSOCKS-OSSH", Member("inproxyShadowsocksPort"))),
        port: Member("sshShadowsocksPort"), carrier: Carrier::Tcp, meek: None,
        features: &[UpstreamProxy, Fragmentor, PacketManipulation],
    }),
];

static TRAITS: [(BaseProtocol, Traits); 13] = TABLE;

impl BaseProtocol {
    /// Every base protocol, in selection-list order.
    pub fn all() -> impl Iterator<Item = Self> {
        TRAITS.iter().map(|(base, _)| *base)
    }

    /// The row of the table. The rows stand in the order of the enum, which a test checks.
    #[must_use]
    pub fn traits(self) -> &'static Traits {
        let (_, row) = &TRAITS[self as usize];
        row
    }
}

impl TunnelProtocol {
    /// Plain SSH.
    pub const SSH: Self = Self::direct(BaseProtocol::Ssh);
    /// Obfuscated SSH.
    pub const OSSH: Self = Self::direct(BaseProtocol::Ossh);
    /// Obfuscated SSH inside TLS.
    pub const TLS_OSSH: Self = Self::direct(BaseProtocol::TlsOssh);
    /// Meek over HTTP, straight to the server.
    pub const UNFRONTED_MEEK_OSSH: Self = Self::direct(BaseProtocol::UnfrontedMeek);
    /// Meek over HTTPS, straight to the server.
    pub const UNFRONTED_MEEK_HTTPS_OSSH: Self = Self::direct(BaseProtocol::UnfrontedMeekHttps);
    /// Meek over HTTPS with an obfuscated session ticket.
    pub const UNFRONTED_MEEK_SESSION_TICKET_OSSH: Self =
        Self::direct(BaseProtocol::UnfrontedMeekSessionTicket);
    /// Meek over HTTPS through a CDN.
    pub const FRONTED_MEEK_OSSH: Self = Self::direct(BaseProtocol::FrontedMeek);
    /// Meek over HTTP through a CDN.
    pub const FRONTED_MEEK_HTTP_OSSH: Self = Self::direct(BaseProtocol::FrontedMeekHttp);
    /// Meek over QUIC through a CDN.
    pub const FRONTED_MEEK_QUIC_OSSH: Self = Self::direct(BaseProtocol::FrontedMeekQuic);
    /// Obfuscated SSH over QUIC.
    pub const QUIC_OSSH: Self = Self::direct(BaseProtocol::Quic);
    /// Obfuscated SSH inside Shadowsocks.
    pub const SHADOWSOCKS_OSSH: Self = Self::direct(BaseProtocol::Shadowsocks);

    /// The protocol without an in-proxy hop.
    #[must_use]
    pub const fn direct(base: BaseProtocol) -> Self {
        Self { via_inproxy: false, base }
    }

    /// The protocol behind an in-proxy first hop; none for refraction networking.
    #[must_use]
    pub fn via_inproxy(base: BaseProtocol) -> Option<Self> {
        base.traits().inproxy.map(|_| Self { via_inproxy: true, base })
    }

    /// Every protocol, in selection-list order: the direct ones, then those behind an in-proxy.
    pub fn all() -> impl Iterator<Item = Self> {
        BaseProtocol::all().map(Self::direct).chain(BaseProtocol::all().filter_map(Self::via_inproxy))
    }

    /// The protocol on the last hop.
    #[must_use]
    pub const fn base(self) -> BaseProtocol {
        self.base
    }

    /// True if the first hop is an in-proxy.
    #[must_use]
    pub const fn uses_inproxy(self) -> bool {
        self.via_inproxy
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        let row = self.base.traits();
        match row.inproxy {
            Some((name, _)) if self.via_inproxy => name,
            _ => row.name,
        }
    }

    /// What a server entry lists when the server has the protocol. In-proxy protocols use the full name.
    #[must_use]
    pub fn capability(self) -> &'static str {
        if self.via_inproxy { self.name() } else { self.base.traits().capability }
    }

    /// Where the server entry holds the port to dial.
    #[must_use]
    pub fn port_source(self) -> PortSource {
        let row = self.base.traits();
        match row.inproxy {
            Some((_, port)) if self.via_inproxy => port,
            _ => row.port,
        }
    }

    /// The IP protocol that reaches the server itself: a front passes what it gets on over TCP.
    #[must_use]
    pub fn carrier_at_server(self) -> Carrier {
        if self.has(Fronted) { Carrier::Tcp } else { self.base.traits().carrier }
    }

    /// True if the protocol has the property. An in-proxy hop takes the user's proxy away, costs much, and is dialled
    /// only if named.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        match feature {
            UpstreamProxy if self.via_inproxy => false,
            Intensive | DefaultDisabled if self.via_inproxy => true,
            _ => self.base.traits().features.contains(&feature),
        }
    }

    /// True if the tunnel's SSH is obfuscated: all but plain SSH.
    #[must_use]
    pub fn obfuscates_ssh(self) -> bool {
        self.base != BaseProtocol::Ssh
    }

    /// True if the peer that the server sees is the client itself, so that its port means something (PROTOCOL.md 4.5).
    #[must_use]
    pub fn is_direct(self) -> bool {
        !self.via_inproxy && !self.has(Fronted) && !self.has(Refraction)
    }
}

impl fmt::Display for TunnelProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for TunnelProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no tunnel protocol has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a tunnel protocol: use a name such as OSSH or TLS-OSSH, in capitals")]
pub struct UnknownProtocol {
    /// What was given.
    pub name: String,
}

impl FromStr for TunnelProtocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        Self::all()
            .find(|protocol| protocol.name() == name)
            .ok_or_else(|| UnknownProtocol { name: name.to_owned() })
    }
}

impl serde::Serialize for TunnelProtocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for TunnelProtocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_enum_order() {
        for (position, (base, _)) in TRAITS.iter().enumerate() {
            assert_eq!(*base as usize, position);
        }
    }

    #[test]
    fn every_name_parses_back_and_none_repeats() {
        let mut names: Vec<_> = TunnelProtocol::all().map(TunnelProtocol::name).collect();
        assert_eq!(names.len(), 13 + 11);
        for protocol in TunnelProtocol::all() {
            assert_eq!(protocol.name().parse(), Ok(protocol));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 24);
        assert!("ossh".parse::<TunnelProtocol>().is_err());
        assert!("INPROXY-WEBRTC-TAPDANCE-OSSH".parse::<TunnelProtocol>().is_err());
    }

    #[test]
    fn names_follow_their_rules() {
        for base in BaseProtocol::all() {
            let row = base.traits();
            assert_eq!(row.capability, row.name.strip_suffix("-OSSH").unwrap_or(row.name));
            if let Some((name, _)) = row.inproxy {
                assert_eq!(name, format!("INPROXY-WEBRTC-{}", row.name));
            }
        }
    }

    #[test]
    fn inproxy_changes_what_it_must() {
        let direct = TunnelProtocol::direct(BaseProtocol::FrontedMeek);
        let relayed = TunnelProtocol::via_inproxy(BaseProtocol::FrontedMeek).unwrap();
        assert!(direct.has(UpstreamProxy) && !relayed.has(UpstreamProxy));
        assert!(!direct.has(DefaultDisabled) && relayed.has(DefaultDisabled));
        assert_eq!(relayed.capability(), "INPROXY-WEBRTC-FRONTED-MEEK-OSSH");
        assert!(TunnelProtocol::OSSH.is_direct() && !direct.is_direct() && !relayed.is_direct());
    }
}
