//! Whether the host can bear more tunnels: samples of what it bears are held against limits. The door is shut when a limit is reached for a
//! while and opens when there is some room again for a while, so that it does not swing. Pure: `monitor` takes the samples.

use std::time::Duration;

use super::Shut;
use crate::config::LoadLimits;

/// How often samples are taken.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// What the host bears. `None`: it cannot be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_percent: Option<f64>,
    pub(crate) tunnels: usize,
    pub(crate) handshake_delay: Duration,
}

/// All limits and how long each has been reached.
#[derive(Debug)]
pub(crate) struct Load(Vec<Gate>);

/// One limit.
#[derive(Debug)]
struct Gate {
    reason: Shut,
    shut_at: f64,
    open_at: f64,
    /// Samples that must agree before it is shut, and before it is opened.
    patience: [u32; 2],
    /// Samples in a row that disagree with the state.
    disagree: u32,
    is_shut: bool,
}

impl Load {
    pub(crate) fn new(limits: &LoadLimits) -> Self {
        let mut gates = Vec::new();
        let mut gate = |reason, shut_at, open_at, patience| {
            gates.push(Gate { reason, shut_at, open_at, patience, disagree: 0, is_shut: false });
        };
        // What is worst when it is exceeded comes first. Memory does not wait.
        if let Some(limit) = limits.memory_percent.map(f64::from) {
            gate(Shut::Memory, limit, limit - 5.0, [1, 5]);
        }
        let tunnels = limits.tunnels.max(1) as f64;
        gate(Shut::Tunnels, tunnels, (tunnels * 0.95).ceil() - 1.0, [1, 1]);
        if let Some(limit) = limits.handshake_delay.map(|limit| limit.as_secs_f64()) {
            gate(Shut::HandshakeDelay, limit, limit / 2.0, [3, 5]);
        }
        if let Some(limit) = limits.cpu_percent.map(f64::from) {
            gate(Shut::Cpu, limit, limit * 0.9, [5, 5]);
        }
        Self(gates)
    }

    /// Why no new tunnels are wanted after this sample, if they are not.
    pub(crate) fn take(&mut self, sample: &Sample) -> Option<Shut> {
        for gate in &mut self.0 {
            let value = match gate.reason {
                Shut::Cpu => sample.cpu_percent,
                Shut::Memory => sample.memory_percent,
                Shut::Tunnels => Some(sample.tunnels as f64),
                Shut::HandshakeDelay => Some(sample.handshake_delay.as_secs_f64()),
                Shut::Ordered | Shut::Descriptors => None,
            };
            gate.take(value);
        }
        self.0.iter().find(|gate| gate.is_shut).map(|gate| gate.reason)
    }
}

impl Gate {
    /// What cannot be told limits nothing.
    fn take(&mut self, value: Option<f64>) {
        let [to_shut, to_open] = self.patience;
        let (disagrees, patience) = match (self.is_shut, value) {
            (false, value) => (value.is_some_and(|value| value >= self.shut_at), to_shut),
            (true, value) => (value.is_none_or(|value| value <= self.open_at), to_open),
        };
        self.disagree = if disagrees { self.disagree + 1 } else { 0 };
        if self.disagree >= patience {
            self.is_shut = !self.is_shut;
            self.disagree = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of samples of one kind.
    fn states<const N: usize>(limits: LoadLimits, samples: [Sample; N]) -> [Option<Shut>; N] {
        let mut load = Load::new(&limits);
        samples.map(|sample| load.take(&sample))
    }

    #[test]
    fn memory_shuts_at_once_and_opens_with_room() {
        let memory = |percent| Sample { memory_percent: Some(percent), ..Sample::default() };
        let shut = Some(Shut::Memory);
        let states = states(
            LoadLimits::default(),
            [94.9, 95.0, 94.0, 91.0, 90.0, 90.0, 91.0, 90.0, 80.0, 80.0, 80.0, 80.0, 94.0].map(memory),
        );
        let none = None;
        assert_eq!(states, [none, shut, shut, shut, shut, shut, shut, shut, shut, shut, shut, none, none]);
    }

    #[test]
    fn a_busy_moment_is_no_load() {
        let limits = LoadLimits { cpu_percent: Some(90), memory_percent: None, ..LoadLimits::default() };
        let cpu = |percent| Sample { cpu_percent: Some(percent), ..Sample::default() };
        let peaks = states(limits, [100.0, 100.0, 100.0, 100.0, 80.0, 100.0, 100.0, 100.0, 100.0].map(cpu));
        assert_eq!(peaks, [None; 9]);
        let mut load = Load::new(&limits);
        for _ in 0..5 {
            assert_eq!(load.0.last().map(|gate| gate.is_shut), Some(false));
            load.take(&cpu(90.0));
        }
        assert_eq!(load.take(&cpu(85.0)), Some(Shut::Cpu));
        let unknown = Sample::default();
        for _ in 0..4 {
            assert_eq!(load.take(&unknown), Some(Shut::Cpu));
        }
        assert_eq!(load.take(&unknown), None, "what cannot be told limits nothing");
    }

    #[test]
    fn tunnels_make_room_before_more_come() {
        let limits = LoadLimits { tunnels: 100, ..LoadLimits::default() };
        let tunnels = |tunnels| Sample { tunnels, ..Sample::default() };
        let full = Some(Shut::Tunnels);
        let states = states(limits, [99, 100, 99, 95, 94, 99].map(tunnels));
        assert_eq!(states, [None, full, full, full, None, None]);
        let mut one = Load::new(&LoadLimits { tunnels: 1, ..LoadLimits::default() });
        assert_eq!((one.take(&tunnels(1)), one.take(&tunnels(0))), (full, None));
    }

    #[test]
    fn delay_must_last() {
        let limits =
            LoadLimits { handshake_delay: Some(Duration::from_millis(500)), ..LoadLimits::default() };
        let delay = |millis| Sample { handshake_delay: Duration::from_millis(millis), ..Sample::default() };
        let shut = Some(Shut::HandshakeDelay);
        let states = states(limits, [600, 600, 500, 300, 250, 250, 250, 250, 250].map(delay));
        assert_eq!(states, [None, None, shut, shut, shut, shut, shut, shut, None]);
    }
}
