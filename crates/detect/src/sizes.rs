//! Whether segments of one size give a protocol away: the reference's identification line alone makes a segment of 21 bytes in every flow.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::{Carrier, Direction, FULL_SEGMENT, Flow};

/// By so much the sizes of first datagrams may differ, and be one and the same without what hides it.
const HIDING: usize = 16;

/// A size that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TellingSize {
    /// Who sends segments of it.
    pub direction: Direction,
    /// Bytes of payload.
    pub len: usize,
    /// The part of the flows that have one, from 0 to 1.
    pub share: f64,
}

/// Sizes, other than that of a full segment, that more than `share` of the flows have among the first `segments` of a direction; the most
/// telling first. Datagrams as large as a protocol makes them are full, too: the largest size of each flow's direction is left out, and that of the flow's
/// first datagram, which QUIC fixes itself (RFC 9000 section 14.1), give or take what hides it.
#[must_use]
pub fn telling_sizes(flows: &[Flow], segments: usize, share: f64) -> Vec<TellingSize> {
    let mut counts: BTreeMap<(Direction, usize), usize> = BTreeMap::new();
    for flow in flows {
        for direction in [Direction::Up, Direction::Down] {
            for len in sizes(flow, direction, segments) {
                *counts.entry((direction, len)).or_default() += 1;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of flows")]
    let part = |count: usize| count as f64 / flows.len().max(1) as f64;
    let mut telling: Vec<TellingSize> = counts
        .into_iter()
        .map(|((direction, len), count)| TellingSize { direction, len, share: part(count) })
        .filter(|size| size.share > share)
        .collect();
    telling.sort_by(|a, b| b.share.total_cmp(&a.share));
    telling
}

fn sizes(flow: &Flow, direction: Direction, segments: usize) -> BTreeSet<usize> {
    let lens = flow.segments().iter().filter(|segment| segment.direction == direction).take(segments);
    let mut sizes: BTreeSet<usize> = lens.map(|segment| segment.len).collect();
    match flow.carrier() {
        Carrier::Tcp => {
            sizes.remove(&FULL_SEGMENT);
        }
        Carrier::Udp => {
            sizes.pop_last();
            if let Some(first) = flow.segments().first() {
                sizes.retain(|len| len.abs_diff(first.len) > HIDING);
            }
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_size_that_many_share_is_found() {
        let flow = |number: usize| {
            let mut flow = Flow::new(Carrier::Tcp);
            flow.record(Direction::Up, Duration::ZERO, &vec![0; 2000 + number]);
            flow.record(Direction::Down, Duration::ZERO, &[0; 21]);
            flow
        };
        let flows: Vec<Flow> = (0..10).map(flow).collect();
        let expected = TellingSize { direction: Direction::Down, len: 21, share: 1.0 };
        assert_eq!(telling_sizes(&flows, 20, 0.2), [expected]);
        assert!(telling_sizes(&[], 20, 0.2).is_empty());
    }
}
