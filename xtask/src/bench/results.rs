//! What was measured: the values of each figure for each contender, and their medians.

use std::collections::{BTreeMap, BTreeSet};

use super::contender::Contender;
use super::figures::Figure;

/// All values of one figure for one contender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// In the figure's unit, one for each repetition.
    pub(crate) values: Vec<f64>,
    /// MB/s of the same repetitions, where bytes were moved.
    pub(crate) speeds: Vec<f64>,
    /// What must be said beside it.
    pub(crate) remark: String,
}

impl Series {
    /// The value in the middle.
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.values)
    }
}

/// A run's results.
#[derive(Default)]
pub(crate) struct Results {
    /// By figure, then contender.
    pub(crate) series: BTreeMap<(Figure, Contender), Series>,
    /// Who would have taken part but is not installed.
    pub(crate) absent: BTreeSet<Contender>,
    /// What did not work, in words.
    pub(crate) failures: Vec<String>,
}

impl Results {
    /// Adds a value.
    pub(crate) fn add(&mut self, figure: Figure, of: Contender, value: f64) {
        self.entry(figure, of).values.push(value);
    }

    /// Adds what moving bytes cost, and how fast it was.
    pub(crate) fn add_transfer(&mut self, figure: Figure, of: Contender, cost: f64, speed: f64) {
        let series = self.entry(figure, of);
        series.values.push(cost);
        series.speeds.push(speed);
    }

    /// Says something beside a figure, once.
    pub(crate) fn remark(&mut self, figure: Figure, of: Contender, remark: &str) {
        let series = self.entry(figure, of);
        if !series.remark.contains(remark) {
            if !series.remark.is_empty() {
                series.remark.push_str("; ");
            }
            series.remark.push_str(remark);
        }
    }

    /// Notes that something did not work, and goes on.
    pub(crate) fn fail(&mut self, what: impl std::fmt::Display) {
        let what = what.to_string();
        eprintln!("   failed: {what}");
        self.failures.push(what);
    }

    /// The value in the middle.
    pub(crate) fn median(&self, figure: Figure, of: Contender) -> Option<f64> {
        self.series.get(&(figure, of))?.median()
    }

    fn entry(&mut self, figure: Figure, of: Contender) -> &mut Series {
        self.series.entry((figure, of)).or_default()
    }
}

/// The value in the middle; of an even number the mean of the two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, upper))
}

/// The value below which this part of all lies.
pub(crate) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let hundred: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&hundred, 0.5), Some(50.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
