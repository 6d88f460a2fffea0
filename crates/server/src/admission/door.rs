//! Whether new tunnels are wanted. An operator says so by signal, and the load of the host says so by itself; either can shut the door, and
//! both must agree for it to be open. Tunnels that are up never notice. Outside, every reason looks the same. Source: PROTOCOL.md 3.6.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::figures::{Overload, Refusal};

/// The door.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// An operator wants no more.
    ordered: AtomicBool,
    /// What there is too much of; 0 is nothing.
    overload: AtomicU8,
    /// Connections turned away since it was last asked for.
    refused_lately: AtomicU64,
}

/// Why no new tunnels are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    Ordered,
    Cpu,
    Memory,
    Tunnels,
    HandshakeDelay,
    Descriptors,
}

impl Shut {
    pub(crate) const ALL: [Self; 6] =
        [Self::Ordered, Self::Cpu, Self::Memory, Self::Tunnels, Self::HandshakeDelay, Self::Descriptors];

    /// What the log calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "signal",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Tunnels => "tunnels",
            Self::HandshakeDelay => "handshake_delay",
            Self::Descriptors => "descriptors",
        }
    }

    /// What whoever asks for the status is told.
    pub(crate) fn for_people(self) -> &'static str {
        match self {
            Self::Ordered => "paused",
            Self::Cpu => "too much processor time used (LoadLimits.CPUPercent)",
            Self::Memory => "too much memory used (LoadLimits.MemoryPercent)",
            Self::Tunnels => "too many tunnels (LoadLimits.MaxTunnels)",
            Self::HandshakeDelay => "handshakes wait too long (LoadLimits.HandshakeDelayMilliseconds)",
            Self::Descriptors => "too many open files (ulimit -n, or LimitNOFILE in a systemd unit)",
        }
    }

    /// What the figures call it.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Ordered => Refusal::Paused,
            Self::Tunnels => Refusal::Full,
            Self::Cpu | Self::Memory | Self::HandshakeDelay | Self::Descriptors => Refusal::Overloaded,
        }
    }

    /// What the figures call the load; an operator's order is none.
    pub(crate) fn load(self) -> Option<Overload> {
        match self {
            Self::Cpu => Some(Overload::Cpu),
            Self::Memory => Some(Overload::Memory),
            Self::Tunnels => Some(Overload::Tunnels),
            Self::HandshakeDelay => Some(Overload::HandshakeDelay),
            Self::Ordered | Self::Descriptors => None,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }
}

impl Door {
    /// Why it is shut, if it is.
    pub(crate) fn shut(&self) -> Option<Shut> {
        if self.ordered.load(Ordering::Relaxed) {
            return Some(Shut::Ordered);
        }
        Shut::of_number(self.overload.load(Ordering::Relaxed))
    }

    /// Counts a connection that was turned away.
    pub(crate) fn count_refused(&self) {
        self.refused_lately.fetch_add(1, Ordering::Relaxed);
    }

    /// What an operator wants; whether that is new.
    pub(crate) fn order(&self, wanted: bool) -> bool {
        self.ordered.swap(!wanted, Ordering::Relaxed) == wanted
    }

    /// What the host cannot bear more of.
    pub(crate) fn overload(&self, reason: Option<Shut>) {
        self.overload.store(reason.map_or(0, |reason| reason as u8 + 1), Ordering::Relaxed);
    }

    /// Connections turned away since this was last asked.
    pub(crate) fn take_refused_lately(&self) -> u64 {
        self.refused_lately.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_agree() {
        let door = Door::default();
        assert_eq!(door.shut(), None);
        for reason in Shut::ALL.into_iter().filter(|reason| *reason != Shut::Ordered) {
            door.overload(Some(reason));
            assert_eq!(door.shut(), Some(reason));
            door.count_refused();
            door.overload(None);
        }
        assert!(door.order(false) && !door.order(false));
        door.overload(Some(Shut::Cpu));
        assert_eq!(door.shut(), Some(Shut::Ordered));
        assert!(door.order(true));
        assert_eq!(door.shut(), Some(Shut::Cpu), "what an operator opens may be overloaded");
        door.overload(None);
        assert_eq!(door.shut(), None);
        assert_eq!((door.take_refused_lately(), door.take_refused_lately()), (5, 0));
    }
}
