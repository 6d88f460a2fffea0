//! The protocols that carry an obfuscated stream, and their figures: OSSH itself first, with which the others are compared.

use super::contender::Contender::{self, OursToReference, Reference, ReferenceToOurs};
use super::figures::{Figure, Goal, Limit, figure, ours, with_reference};
use super::psiphon::Protocol;

/// The figures of one protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// Which.
    pub(crate) protocol: Protocol,
    /// Speed to the client on loopback, one stream.
    pub(crate) down: Figure,
    /// Speed from it.
    pub(crate) up: Figure,
    /// CPU of both programs on the way down.
    pub(crate) cost: Figure,
    /// From dialing to a usable tunnel.
    pub(crate) usable: Figure,
    /// One connection, or datagram, of noise.
    pub(crate) probe: Figure,
}

macro_rules! carried {
    ($place:literal, $name:literal, $port:literal, $datagrams:literal) => {
        Carried {
            protocol: Protocol { name: $name, port: $port, datagrams: $datagrams },
            down: figure($place, concat!($name, ", down"), "MB/s"),
            up: figure($place + 1, concat!($name, ", up"), "MB/s"),
            cost: figure($place + 2, concat!($name, ", down, both programs"), "CPU-s/GB"),
            usable: figure($place + 3, concat!($name, ", to a usable tunnel"), "round trips"),
            probe: figure($place + 4, concat!($name, ", one garbage probe"), "ms CPU"),
        }
    };
}

/// All.
pub(crate) const CARRIED: [Carried; 7] = [
    carried!(30, "OSSH", "sshObfuscatedPort", false),
    carried!(35, "TLS-OSSH", "tlsOSSHPort", false),
    carried!(40, "SHADOWSOCKS-OSSH", "sshShadowsocksPort", false),
    carried!(45, "UNFRONTED-MEEK-OSSH", "meekServerPort", false),
    carried!(50, "UNFRONTED-MEEK-HTTPS-OSSH", "meekServerPort", false),
    carried!(55, "UNFRONTED-MEEK-SESSION-TICKET-OSSH", "meekServerPort", false),
    carried!(60, "QUIC-OSSH", "sshObfuscatedQUICPort", true),
];

impl Carried {
    /// What is to be reached.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let [ossh, ..] = CARRIED;
        let mut goals = match self.protocol.name {
            "OSSH" => return Vec::new(),
            "TLS-OSSH" | "SHADOWSOCKS-OSSH" => {
                vec![ours(self.cost, Limit::Times(1.5, ossh.cost, Contender::Ours), "reference 9")]
            }
            "UNFRONTED-MEEK-OSSH" => vec![
                ours(self.down, Limit::AtLeast(150.0), "reference 3.9"),
                ours(self.up, Limit::AtLeast(60.0), "reference 7"),
                with_reference(self.down, Limit::AtLeast(70.0), "reference 3.9"),
                Goal {
                    figure: self.down,
                    of: ReferenceToOurs,
                    limit: Limit::AtLeast(20.0),
                    before: "reference 3.9",
                },
            ],
            "QUIC-OSSH" => vec![
                ours(self.down, Limit::AtLeast(250.0), "reference 65 to 76"),
                with_reference(self.down, Limit::AtLeastTimes(1.0, self.down, Reference), ""),
            ],
            _ => vec![ours(self.down, Limit::AtLeast(120.0), "reference 4")],
        };
        for of in [Contender::Ours, OursToReference] {
            goals.push(Goal {
                figure: self.usable,
                of,
                limit: Limit::Less(2.0, self.usable, Reference),
                before: "",
            });
        }
        goals.push(ours(self.probe, Limit::AtMost(0.1), "reference 1.05"));
        goals
    }
}
