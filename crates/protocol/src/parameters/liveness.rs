//! Parameters of tests whether tunnels carry anything: before they count as tunnels, and while they live. PROTOCOL.md 3.6, 7.3.

use std::time::Duration;

use super::declare::{MILLISECOND, MINUTE, SECOND, YEAR, parameters};
use super::fault::Problems;
use super::{LivenessTest, LivenessTests, Probability, ScaledDuration};
use crate::TunnelProtocol;

/// Most bytes of a test that servers accept. PROTOCOL.md 7.3.
const MOST_TEST_BYTES: u32 = 10 << 20;
/// Most padding of a keepalive request.
const MOST_PADDING: u32 = 65_536;

parameters! {
    /// How much random data a new tunnel must carry before it is used.
    pub struct Liveness {
        /// Tests of the first tunnel of a run, by protocol; those of all tunnels when empty.
        initial_tests: LivenessTests = LivenessTests::default(), "InitialLivenessTest";
        /// Tests of all tunnels, by protocol.
        tests: LivenessTests = LivenessTests::default(), "LivenessTest";
        /// Least that is sent where no test is given, in bytes.
        min_upstream_bytes: u32 = 0, within 0..=MOST_TEST_BYTES, "LivenessTestMinUpstreamBytes";
        /// Most that is sent where no test is given; 0 is none.
        max_upstream_bytes: u32 = 0, within 0..=MOST_TEST_BYTES, "LivenessTestMaxUpstreamBytes";
        /// Least that is received where no test is given, in bytes.
        min_downstream_bytes: u32 = 0, within 0..=MOST_TEST_BYTES, "LivenessTestMinDownstreamBytes";
        /// Most that is received where no test is given; 0 is none.
        max_downstream_bytes: u32 = 0, within 0..=MOST_TEST_BYTES, "LivenessTestMaxDownstreamBytes";
    }
    ordered { min_upstream_bytes <= max_upstream_bytes, min_downstream_bytes <= max_downstream_bytes }
    rules Liveness::tests_are_accepted;
}

impl Liveness {
    /// The test of a tunnel: the first one of a run may have its own. A test named exactly wins over one whose `*` stands
    /// for something, the longest name among those; the unnamed test is for the rest.
    #[must_use]
    pub fn test_of(&self, protocol: TunnelProtocol, is_first: bool) -> LivenessTest {
        let tests =
            if is_first && !self.initial_tests.0.is_empty() { &self.initial_tests } else { &self.tests };
        let name = protocol.name();
        let by_pattern = || {
            let matching = tests.0.iter().filter(|(label, _)| !label.is_empty() && matches(label, name));
            matching.max_by_key(|(label, _)| label.len()).map(|(_, test)| test)
        };
        let found = tests.0.get(name).or_else(by_pattern).or_else(|| tests.0.get(""));
        found.copied().unwrap_or(LivenessTest {
            min_upstream_bytes: self.min_upstream_bytes,
            max_upstream_bytes: self.max_upstream_bytes,
            min_downstream_bytes: self.min_downstream_bytes,
            max_downstream_bytes: self.max_downstream_bytes,
        })
    }

    fn tests_are_accepted(&self, problems: &mut Problems) {
        for (name, tests) in [("InitialLivenessTest", &self.initial_tests), ("LivenessTest", &self.tests)] {
            for (label, test) in &tests.0 {
                let most = test.max_upstream_bytes.max(test.max_downstream_bytes);
                if most > MOST_TEST_BYTES {
                    let expected = format!("at most {MOST_TEST_BYTES} bytes either way");
                    let fault = super::Fault::OutOfBounds { expected, found: most.to_string() };
                    problems.note(name, vec![label.as_str().into()], fault);
                }
            }
        }
    }
}

/// Whether a name is one that a pattern stands for, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = left.split_once(part) else { return false };
        left = behind;
    }
    left.ends_with(end)
}

parameters! {
    /// When idle tunnels are asked whether they live.
    pub struct KeepAlive {
        /// Shortest time between two periodic requests.
        period_min: Duration = MINUTE, within SECOND..=YEAR, "SSHKeepAlivePeriodMin";
        /// Longest time between two periodic requests.
        period_max: Duration = Duration::from_secs(120), within SECOND..=YEAR, "SSHKeepAlivePeriodMax";
        /// How long a periodic request waits for its answer.
        periodic_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(30)), within SECOND..=YEAR, "SSHKeepAlivePeriodicTimeout";
        /// How long a tunnel must have been silent for a periodic request.
        periodic_inactive_period: Duration = Duration::from_secs(10), within SECOND..=YEAR, "SSHKeepAlivePeriodicInactivePeriod";
        /// How long a request waits that is made because flows failed.
        probe_timeout: ScaledDuration = ScaledDuration::new(Duration::from_secs(5)), within SECOND..=YEAR, "SSHKeepAliveProbeTimeout";
        /// How long a tunnel must have been silent to be asked when flows fail.
        probe_inactive_period: Duration = Duration::from_secs(10), within SECOND..=YEAR, "SSHKeepAliveProbeInactivePeriod";
        /// How often it is looked whether there is a network, while a request waits.
        connectivity_polling_period: Duration = Duration::from_millis(500), within MILLISECOND..=YEAR, "SSHKeepAliveNetworkConnectivityPollingPeriod";
        /// How likely the server of a tunnel that does not answer is forgotten as the one that served last, with how it was dialed.
        reset_on_failure_probability: Probability = Probability::NEVER, "SSHKeepAliveResetOnFailureProbability";
        /// How long a request waits that is made when the device wakes.
        resume_probe_timeout: ScaledDuration = ScaledDuration::new(Duration::from_millis(2500)), within MILLISECOND..=YEAR, "SSHKeepAliveResumeProbeTimeout";
        /// How long a tunnel must have been silent to be asked when the device wakes.
        resume_probe_inactive_period: Duration = SECOND, within Duration::ZERO..=YEAR, "SSHKeepAliveResumeProbeInactivePeriod";
        /// After how long a silence it is not asked but replaced when the device wakes.
        resume_reconnect_inactive_period: Duration = Duration::from_secs(121), within Duration::ZERO..=YEAR, "SSHKeepAliveResumeReconnectInactivePeriod";
        /// Least padding of a keepalive request, in bytes.
        padding_min_bytes: u32 = 0, within 0..=MOST_PADDING, "SSHKeepAlivePaddingMinBytes";
        /// Most padding of a keepalive request, in bytes.
        padding_max_bytes: u32 = 256, within 0..=MOST_PADDING, "SSHKeepAlivePaddingMaxBytes";
        /// How likely the time of a request's answer is kept for the server.
        speed_test_sample_probability: Probability = Probability::HALF, "SSHKeepAliveSpeedTestSampleProbability";
    }
    ordered { period_min <= period_max, padding_min_bytes <= padding_max_bytes }
}
