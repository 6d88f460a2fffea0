//! The words behind `cargo xtask faults`.

use std::time::Duration;

use crate::bench::Outcome;

/// Everything that can be asked for with `--only`, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No descriptors left.
    Descriptors,
    /// Silent connections, and garbage.
    HalfOpen,
    /// A client that takes all it can get.
    Abuse,
    /// Clients of a byte a second.
    Slow,
    /// Flows that nobody reads.
    SlowReaders,
    /// No memory left.
    Memory,
    /// No threads left.
    Threads,
    /// No room on the disk.
    Disk,
    /// A clock that is elsewhere, and a machine that slept.
    Clock,
    /// The server is killed.
    Killed,
    /// The server is killed and comes back, and so do its clients.
    Restart,
    /// The programs are told to stop.
    Stop,
    /// A long time.
    Soak,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::Descriptors,
        Self::HalfOpen,
        Self::Abuse,
        Self::Slow,
        Self::SlowReaders,
        Self::Memory,
        Self::Threads,
        Self::Disk,
        Self::Clock,
        Self::Killed,
        Self::Restart,
        Self::Stop,
        Self::Soak,
    ];
    /// The short form's: they take seconds and need no rights.
    const SHORT: [Self; 7] = [
        Self::Descriptors,
        Self::Abuse,
        Self::SlowReaders,
        Self::Threads,
        Self::Killed,
        Self::Restart,
        Self::Stop,
    ];

    /// As `--only` takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::HalfOpen => "half-open",
            Self::Abuse => "abuse",
            Self::Slow => "slow",
            Self::SlowReaders => "slow-readers",
            Self::Memory => "memory",
            Self::Threads => "threads",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Killed => "killed",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Soak => "soak",
        }
    }
}

/// How to run.
#[derive(Debug)]
pub(super) struct Options {
    /// Which.
    pub(super) faults: Vec<Fault>,
    /// A few seconds of each, with programs built for development.
    pub(super) short: bool,
    /// Of the soak.
    pub(super) minutes: u32,
}

impl Options {
    /// Reads them.
    pub(super) fn parse(words: &[&str]) -> Outcome<Self> {
        let mut options = Self { faults: Vec::new(), short: false, minutes: 60 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--short" => options.short = true,
                "--minutes" => options.minutes = words.next().ok_or("--minutes wants a number")?.parse()?,
                "--only" => options.faults.push(fault(words.next().copied().unwrap_or_default())?),
                other => {
                    return Err(
                        format!("unknown option `{other}`: --short, --only FAULT, --minutes N").into()
                    );
                }
            }
        }
        if options.faults.is_empty() {
            options.faults = if options.short { Fault::SHORT.to_vec() } else { Fault::ALL.to_vec() };
        }
        Ok(options)
    }

    /// Whether this is everything.
    pub(super) fn is_whole(&self) -> bool {
        !self.short && self.faults.len() == Fault::ALL.len()
    }

    /// The whole, or in the short form a part.
    pub(super) fn scaled<T>(&self, whole: T, short: T) -> T {
        if self.short { short } else { whole }
    }

    /// After so long something hangs.
    pub(super) fn limit(&self) -> Duration {
        let soak = if self.faults.contains(&Fault::Soak) { self.minutes } else { 0 };
        Duration::from_secs(60 * u64::from(60 + soak))
    }
}

fn fault(name: &str) -> Outcome<Fault> {
    Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("no fault `{name}`; there are {}", names.join(", ")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["--only", "disk", "--only", "soak", "--minutes", "5"]).unwrap();
        assert_eq!((options.faults, options.minutes), (vec![Fault::Disk, Fault::Soak], 5));
        let short = Options::parse(&["--short"]).unwrap();
        assert!(short.faults == Fault::SHORT && !short.is_whole());
        assert!(Options::parse(&[]).unwrap().is_whole());
        for bad in [vec!["--only"], vec!["--only", "x"], vec!["--minutes"], vec!["x"]] {
            assert!(Options::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
