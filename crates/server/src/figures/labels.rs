//! What figures are told apart by: closed sets, so that no peer can make a series. No address, no name and no number that a
//! client chooses is a label.

use std::net::SocketAddr;

use culvert_protocol::TunnelProtocol;

use crate::config::SUPPORTED;

/// A label of its own, or several at once: one series for each value.
pub(crate) trait Labels: Copy + 'static {
    /// How many values there are.
    const COUNT: usize;

    /// All values, in the order of `index`.
    fn all() -> Vec<Self>;

    /// Where this value stands in `all`. Beyond its end for what is none of them.
    fn index(self) -> usize;

    /// Name and value of each label.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

/// Declares an enum that is a label: its name, its values and what they are called.
macro_rules! labels {
    ($($(#[$meta:meta])* $vis:vis enum $enum:ident, $label:literal: { $($(#[$about:meta])* $value:ident = $text:literal,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            $vis enum $enum { $($(#[$about])* $value,)* }

            impl $enum {
                pub(crate) const ALL: &[Self] = &[$(Self::$value,)*];

                /// The label's value.
                pub(crate) fn text(self) -> &'static str {
                    match self { $(Self::$value => $text,)* }
                }
            }

            impl $crate::figures::Labels for $enum {
                const COUNT: usize = Self::ALL.len();

                fn all() -> Vec<Self> {
                    Self::ALL.to_vec()
                }

                fn index(self) -> usize {
                    self as usize
                }

                fn pairs(self) -> Vec<(&'static str, &'static str)> {
                    vec![($label, self.text())]
                }
            }
        )*
    };
}

pub(crate) use labels;

labels! {
    /// Why a connection got no tunnel although nothing was wrong with it, or its client failed. What strangers do wrong is
    /// counted by `Figures::irregular`.
    pub(crate) enum Refusal, "reason": {
        /// Told to take no tunnels.
        Paused = "paused",
        /// The host has enough to do.
        Overloaded = "overloaded",
        /// There are as many clients as there may be.
        Full = "full",
        /// One address or region comes too often.
        RateLimited = "rate_limited",
        /// A provider or region that rules keep out.
        Restricted = "restricted",
        /// No place among those that log in, in time.
        Queue = "queue",
        /// Key exchange and login took too long.
        TimedOut = "timed_out",
        /// SSH was not spoken as it must be.
        Protocol = "protocol",
        /// The client went.
        Left = "left",
        /// Another tunnel of the session came meanwhile, or an older one did not end.
        Duplicate = "duplicate",
    }

    /// What there is so much of that no new tunnels are taken.
    pub(crate) enum Overload, "reason": {
        Cpu = "cpu",
        Memory = "memory",
        Tunnels = "tunnels",
        HandshakeDelay = "handshake_delay",
    }

    /// What a flow carries.
    pub(crate) enum Kind, "kind": {
        Tcp = "tcp",
        Udp = "udp",
    }

    /// Which way, as the client sees it.
    pub(crate) enum Direction, "direction": {
        Up = "up",
        Down = "down",
    }

    /// Why a datagram was lost here.
    pub(crate) enum DatagramLoss, "reason": {
        /// Too many new destinations that do not answer.
        NewDestinations = "new_destinations",
        /// Too much to one that does not answer.
        Unanswered = "unanswered",
        /// Too many questions to name servers.
        Queries = "queries",
        /// Too much of an answer.
        Unasked = "unasked",
    }

    /// How a dial ended.
    pub(crate) enum DialOutcome, "outcome": {
        Connected = "connected",
        Failed = "failed",
    }

    /// What was dialed.
    pub(crate) enum Family, "family": {
        Ipv4 = "ipv4",
        Ipv6 = "ipv6",
        /// It did not come to an address.
        Unresolved = "unresolved",
    }

    /// How a look-up ended.
    pub(crate) enum DnsOutcome, "outcome": {
        Answered = "answered",
        Failed = "failed",
    }

    /// How a reload ended.
    pub(crate) enum ReloadOutcome, "outcome": {
        Applied = "applied",
        Refused = "refused",
    }

    /// A file that is read again by a reload.
    pub(crate) enum DataFile, "file": {
        TrafficRules = "traffic_rules",
        GeoIp = "geoip",
        Psinet = "psinet",
        Blocklist = "blocklist",
        Tactics = "tactics",
        Osl = "osl",
    }
}

impl Family {
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// A protocol that this build can listen for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol(pub(crate) TunnelProtocol);

impl Labels for Protocol {
    const COUNT: usize = SUPPORTED.len();

    fn all() -> Vec<Self> {
        SUPPORTED.iter().copied().map(Self).collect()
    }

    fn index(self) -> usize {
        SUPPORTED.iter().position(|supported| *supported == self.0).unwrap_or(SUPPORTED.len())
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![("protocol", self.0.name())]
    }
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn all() -> Vec<Self> {
        let seconds = B::all();
        A::all().into_iter().flat_map(|first| seconds.iter().map(move |second| (first, *second))).collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        let mut pairs = self.0.pairs();
        pairs.extend(self.1.pairs());
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Labels>() {
        for (index, value) in L::all().into_iter().enumerate() {
            assert_eq!(value.index(), index);
        }
    }

    #[test]
    fn every_value_has_its_own_place() {
        in_order::<Refusal>();
        in_order::<Protocol>();
        in_order::<(Protocol, Refusal)>();
        in_order::<(Kind, Direction)>();
        assert_eq!((Kind::Udp, Direction::Down).pairs(), [("kind", "udp"), ("direction", "down")]);
        assert_eq!(<(Protocol, Refusal)>::all().len(), <(Protocol, Refusal)>::COUNT);
    }
}
