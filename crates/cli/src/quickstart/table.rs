//! The table at the end: every protocol that was tried, how long its tunnel took, how fast it was, and what an observer made of it.

use std::io::Write;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;

use super::bulk::Moved;
use super::report::Report;

/// What came of one protocol.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) protocol: TunnelProtocol,
    /// From the client's start to its tunnel, without anybody on the way.
    pub(super) tunnel: Duration,
    pub(super) observed: Observed,
    pub(super) up: Moved,
    pub(super) down: Moved,
}

/// What somebody on the way saw.
#[derive(Debug)]
pub(super) struct Observed {
    /// From the first contact to the tunnel.
    pub(super) round_trips: f64,
    /// By detectors; empty when none fired.
    pub(super) noticed: Vec<&'static str>,
}

/// Prints it.
pub(super) fn print<'r, W: Write>(report: &mut Report<W>, rows: impl Iterator<Item = &'r Row> + Clone) {
    let width = rows.clone().map(|row| row.protocol.name().len()).max().unwrap_or_default();
    report.line(&format!(
        "\n  {:width$}  {:>9}  {:>11}  {:>7}  {:>9}  detectors",
        "protocol", "tunnel", "round trips", "up MB/s", "down MB/s"
    ));
    for row in rows {
        report.line(&row.line(width));
    }
}

impl Row {
    fn line(&self, width: usize) -> String {
        let detectors = match self.observed.noticed.as_slice() {
            [] => "notice nothing".to_owned(),
            noticed => format!("notice: {}", noticed.join(", ")),
        };
        format!(
            "  {:width$}  {:>6} ms  {:>11.1}  {:>7.0}  {:>9.0}  {detectors}",
            self.protocol.name(),
            self.tunnel.as_millis(),
            self.observed.round_trips,
            self.up.megabytes_per_second(),
            self.down.megabytes_per_second(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let moved = |bytes| Moved { bytes, elapsed: Duration::from_secs(1) };
        let row = |protocol, noticed| Row {
            protocol,
            tunnel: Duration::from_millis(12),
            observed: Observed { round_trips: 3.04, noticed },
            up: moved(250_000_000),
            down: moved(1_250_000_000),
        };
        let rows =
            [row(TunnelProtocol::OSSH, vec![]), row(TunnelProtocol::TLS_OSSH, vec!["TLS inside", "noise"])];
        let mut out = Vec::new();
        print(&mut Report::new(&mut out, false), rows.iter());
        let expected = "
  protocol     tunnel  round trips  up MB/s  down MB/s  detectors
  OSSH          12 ms          3.0      250       1250  notice nothing
  TLS-OSSH      12 ms          3.0      250       1250  notice: TLS inside, noise
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
