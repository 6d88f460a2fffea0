//! The cases, and where each applies.

mod algorithms;
mod destinations;
mod events;
mod lifecycle;
mod lost_responses;
mod offers;
mod prefixes;
mod probes;
mod quic;
mod refusals;
mod replay;
mod reports;
mod rules;
mod shaping;
mod tls;
mod traffic;
mod udp;
mod upstream;

use std::path::Path;

use crate::failure::Failure;
use crate::programs::{Maker, Pairing};
use crate::scenario::{Protocol, Setting};

/// What a case measured, in words for the table; empty when it only passed.
pub(crate) type Note = String;

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Its name, unique.
    pub(crate) name: &'static str,
    /// The protocols it is run with.
    pub(crate) protocols: Protocols,
    /// The pairings it says something about.
    pub(crate) applies: Applies,
    /// Whether it is left out unless the long variant is wanted.
    pub(crate) long: bool,
    /// Files of programs that it needs besides.
    pub(crate) needs: &'static [&'static str],
    /// What it does.
    pub(crate) run: fn(&Setting) -> Result<Note, Failure>,
}

/// The protocols of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// Each by itself.
    Each,
    /// Only obfuscated SSH.
    OnlyOssh,
    /// Obfuscated SSH, in a stream and in requests and responses.
    OsshAndPlainMeek,
    /// Only plain SSH.
    OnlySsh,
    /// Only the Shadowsocks stream.
    OnlyShadowsocks,
    /// Only TLS.
    OnlyTls,
    /// Only QUIC.
    OnlyQuic,
    /// Those over TCP straight to the server.
    Streams,
    /// Those that are requests and responses straight to the server.
    OnlyMeek,
    /// Of these the one in the clear.
    OnlyPlainMeek,
    /// Those that end with their TCP connection.
    OneConnection,
    /// Those that begin with a secret, and with nothing before it.
    Obfuscated,
    /// Those of them that the reference answers to nobody else.
    Silent,
    /// Those whose key exchange the harness can read.
    Readable,
    /// Those over one connection of TCP whose clients do not say how the server cuts its first bytes.
    Uncoordinated,
}

/// The pairings of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    /// All four.
    Everywhere,
    /// Those with a program of ours, as it needs a setting or a behaviour that only ours have.
    WithOurs,
    /// Those with our client.
    OurClient,
    /// Those with our server.
    OurServer,
    /// Ours with ours, as it needs a behaviour of both.
    OnlyOurs,
}

impl Case {
    /// A file that the case needs and that is not there.
    pub(crate) fn lacks(&self) -> Option<String> {
        let missing = self.needs.iter().find(|file| !Path::new(file).exists());
        missing.map(|file| format!("there is no {file}"))
    }

    /// Whether the case is run for this pairing and protocol.
    pub(crate) fn covers(&self, pairing: Pairing, protocol: Protocol) -> bool {
        let ours = [pairing.client, pairing.server].map(|maker| maker == Maker::Ours);
        let pairing_fits = match self.applies {
            Applies::Everywhere => true,
            Applies::WithOurs => ours != [false, false],
            Applies::OurClient => ours[0],
            Applies::OurServer => ours[1],
            Applies::OnlyOurs => ours == [true, true],
        };
        let protocol_fits = match self.protocols {
            Protocols::Each => true,
            Protocols::OnlyOssh => protocol == Protocol::Ossh,
            Protocols::OsshAndPlainMeek => matches!(protocol, Protocol::Ossh | Protocol::Meek),
            Protocols::OnlySsh => protocol == Protocol::Ssh,
            Protocols::OnlyShadowsocks => protocol == Protocol::Shadowsocks,
            Protocols::OnlyTls => protocol == Protocol::Tls,
            Protocols::OnlyMeek => protocol.is_meek() && !protocol.is_fronted(),
            Protocols::OnlyPlainMeek => protocol == Protocol::Meek,
            Protocols::OneConnection => !protocol.is_meek() && protocol != Protocol::Quic,
            Protocols::OnlyQuic => protocol == Protocol::Quic,
            Protocols::Streams => protocol != Protocol::Quic && !protocol.is_fronted(),
            Protocols::Obfuscated => {
                !matches!(protocol, Protocol::Ssh | Protocol::Quic) && !protocol.is_meek()
            }
            Protocols::Silent => matches!(protocol, Protocol::Ossh | Protocol::Shadowsocks),
            Protocols::Readable => matches!(protocol, Protocol::Ossh | Protocol::Ssh),
            Protocols::Uncoordinated => {
                matches!(protocol, Protocol::Ssh | Protocol::Shadowsocks | Protocol::Tls)
            }
        };
        pairing_fits && protocol_fits
    }
}

/// Every case, in the order of running.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    [
        traffic::CASES,
        udp::CASES,
        refusals::CASES,
        rules::CASES,
        destinations::CASES,
        lifecycle::CASES,
        lost_responses::CASES,
        reports::CASES,
        events::CASES,
        offers::CASES,
        replay::CASES,
        prefixes::CASES,
        shaping::CASES,
        tls::CASES,
        probes::CASES,
        quic::CASES,
        algorithms::CASES,
        upstream::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// A case for every pairing and each protocol, to be narrowed.
const fn case(name: &'static str, run: fn(&Setting) -> Result<Note, Failure>) -> Case {
    Case { name, protocols: Protocols::Each, applies: Applies::Everywhere, long: false, needs: &[], run }
}

impl Case {
    const fn over(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    const fn only(mut self, applies: Applies) -> Self {
        self.applies = applies;
        self
    }

    const fn with(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    const fn when_long(mut self) -> Self {
        self.long = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
