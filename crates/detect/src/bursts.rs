//! Whether a TLS handshake shows inside a flow, by the bytes of four bursts in turn: nDPI's heuristic for obfuscated TLS, after Xue et al.,
//! "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes", USENIX Security 2024. The means and inverse covariances are its
//! published model; this code is not.

use crate::flow::{Direction, Flow, Segment};

/// A handshake's bursts: client, server, client, server.
type Bytes = [f64; 4];

struct Model {
    mean: Bytes,
    inverse_covariance: [Bytes; 4],
    distance: f64,
    /// The first burst is no shorter.
    least_first: f64,
}

#[rustfmt::skip]
const MODELS: [Model; 3] = [
    // TLS 1.2.
    Model {
        mean: [212.883_690_341_977, 4_514.711_950_394_59, 107.770_762_871_101, 307.580_232_995_115],
        inverse_covariance: [
            [2.924_211_131_676_04e-4, 4.436_776_178_312_28e-7, -5.699_660_934_928_13e-5, -2.181_246_984_063_11e-6],
            [4.436_776_178_312_28e-7, 5.989_549_527_452_68e-7, -3.597_984_367_248_17e-7, 5.716_381_729_558_93e-7],
            [-5.699_660_934_928_13e-5, -3.597_984_367_248_17e-7, 7.689_378_814_830_9e-4, 2.222_784_961_858_64e-5],
            [-2.181_246_984_063_11e-6, 5.716_381_729_558_93e-7, 2.222_784_961_858_64e-5, 5.727_700_770_862_87e-5],
        ],
        distance: 3.5,
        least_first: 0.0,
    },
    // TLS 1.3.
    Model {
        mean: [640.657_378_447_541, 4_649.303_383_565_54, 448.408_302_530_566, 1_094.201_307_932_9],
        inverse_covariance: [
            [3.080_303_379_250_07e-5, 1.161_791_720_969_44e-7, 1.053_567_449_686_27e-7, 3.886_288_435_527_8e-8],
            [1.161_791_720_969_44e-7, 6.931_791_175_193_16e-7, 2.774_132_208_809_37e-8, -3.637_232_006_824_45e-9],
            [1.053_567_449_686_27e-7, 2.774_132_208_809_37e-8, 1.026_095_058_967_5e-6, -1.087_698_135_900_53e-8],
            [3.886_288_435_527_79e-8, -3.637_232_006_824_45e-9, -1.087_698_135_900_53e-8, 8.633_077_922_886_04e-8],
        ],
        distance: 3.0,
        least_first: 517.0,
    },
    // Chrome with a key share that quantum computers do not break.
    Model {
        mean: [1_850.430_453_879_94, 4_903.077_354_807_22, 785.252_806_246_95, 1_051.223_035_627_14],
        inverse_covariance: [
            [6.723_743_909_669_42e-6, -2.321_095_839_417_23e-8, 6.671_400_143_943_88e-8, 1.252_632_262_828_5e-8],
            [-2.321_095_839_417_23e-8, 5.646_689_479_320_86e-7, 4.589_636_319_725_97e-8, 6.412_546_847_919_58e-9],
            [6.671_400_143_943_88e-8, 4.589_636_319_725_97e-8, 6.040_577_684_313_44e-7, -9.150_743_259_771_8e-10],
            [1.252_632_262_828_5e-8, 6.412_546_847_919_58e-9, -9.150_743_259_771_8e-10, 1.011_847_966_354_81e-7],
        ],
        distance: 3.0,
        least_first: 0.0,
    },
];

/// The first burst is a ClientHello, which takes no more segments.
const MOST_FIRST: usize = 3;
/// What TLS adds to what is inside a segment.
const TLS_OVERHEAD: usize = 24;

/// Whether the first `segments` of a flow look like a TLS handshake with something around it. `outer_tls`: that something is TLS, of which
/// everything to each side's ChangeCipherSpec is skipped.
#[must_use]
pub fn looks_like_tls_inside(flow: &Flow, segments: usize, outer_tls: bool) -> bool {
    let (inner, overhead) = if outer_tls {
        (behind_change_cipher(flow.segments()), TLS_OVERHEAD)
    } else {
        (flow.segments().to_vec(), 0)
    };
    let bursts = bursts(inner.get(..segments.min(inner.len())).unwrap_or_default(), overhead);
    let Some((first, _)) = bursts.first() else { return false };
    // Nothing is looked for in what a server begins.
    if first.direction != Direction::Up {
        return false;
    }
    let bursts: Vec<Burst> = bursts.into_iter().map(|(burst, _)| burst).collect();
    // The last may go on behind what is looked at; a handshake ends with the client's next burst.
    bursts.windows(5).step_by(2).any(is_handshake)
}

#[derive(Clone, Copy)]
struct Burst {
    direction: Direction,
    segments: usize,
    bytes: f64,
}

fn behind_change_cipher(segments: &[Segment]) -> Vec<Segment> {
    let mut changed = [false; 2];
    let mut inner = Vec::new();
    for segment in segments {
        let side = usize::from(segment.direction == Direction::Down);
        match changed.get_mut(side) {
            Some(true) => inner.push(*segment),
            Some(changed) => *changed = segment.changes_cipher,
            None => {}
        }
    }
    inner
}

/// Consecutive segments of one direction, and how many segments there were before.
fn bursts(segments: &[Segment], overhead: usize) -> Vec<(Burst, usize)> {
    let mut bursts: Vec<(Burst, usize)> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "sizes of segments")]
        let bytes = segment.len.saturating_sub(overhead) as f64;
        match bursts.last_mut() {
            Some((burst, _)) if burst.direction == segment.direction => {
                burst.segments += 1;
                burst.bytes += bytes;
            }
            _ => bursts.push((Burst { direction: segment.direction, segments: 1, bytes }, index)),
        }
    }
    bursts
}

fn is_handshake(bursts: &[Burst]) -> bool {
    let [first, second, third, fourth, _end] = bursts else { return false };
    let bytes = [first.bytes, second.bytes, third.bytes, fourth.bytes];
    first.segments <= MOST_FIRST
        && MODELS
            .iter()
            .any(|model| first.bytes >= model.least_first && model.distance(&bytes) < model.distance)
}

impl Model {
    /// Mahalanobis's.
    fn distance(&self, bytes: &Bytes) -> f64 {
        let mut difference = *bytes;
        for (value, mean) in difference.iter_mut().zip(&self.mean) {
            *value -= mean;
        }
        let row = |row: &Bytes| row.iter().zip(&difference).map(|(a, b)| a * b).sum::<f64>();
        let product = self.inverse_covariance.iter().zip(&difference).map(|(line, value)| row(line) * value);
        product.sum::<f64>().max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::Carrier;

    fn flow(writes: &[(Direction, usize)]) -> Flow {
        let mut flow = Flow::new(Carrier::Tcp);
        for (direction, len) in writes {
            flow.record(*direction, Duration::ZERO, &vec![0x55; *len]);
        }
        flow
    }

    use Direction::{Down, Up};

    #[test]
    fn handshakes_are_found_and_others_are_not() {
        let tls12 = [(Up, 213), (Down, 4515), (Up, 108), (Down, 308), (Up, 100)];
        let tls13 = [(Up, 641), (Down, 4649), (Up, 448), (Down, 1094), (Up, 100)];
        let chrome = [(Up, 1850), (Down, 4903), (Up, 785), (Down, 1051), (Up, 100)];
        for handshake in [tls12, tls13, chrome] {
            assert!(looks_like_tls_inside(&flow(&handshake), 25, false), "{handshake:?}");
            // Behind something else, too.
            let later = [&[(Up, 30), (Down, 9000)][..], &handshake].concat();
            assert!(looks_like_tls_inside(&flow(&later), 25, false), "{later:?}");
            // But not when it begins behind what is looked at, or has not ended.
            assert!(!looks_like_tls_inside(&flow(&later), 8, false));
            assert!(!looks_like_tls_inside(&flow(&handshake[..4]), 25, false));
            let reversed: Vec<_> =
                handshake.iter().map(|(to, len)| (if *to == Up { Down } else { Up }, *len)).collect();
            assert!(!looks_like_tls_inside(&flow(&reversed), 25, false));
        }
        let download = [(Up, 400), (Down, 60_000), (Up, 80), (Down, 30_000), (Up, 80)];
        assert!(!looks_like_tls_inside(&flow(&download), 60, false));
    }

    #[test]
    fn the_outer_handshake_is_skipped() {
        let mut outer = Flow::new(Carrier::Tcp);
        let change = [0x14, 3, 3, 0, 1, 1];
        outer.record(Up, Duration::ZERO, &[1; 1800]);
        outer.record(Down, Duration::ZERO, &[&[2; 100][..], &change, &[2; 900]].concat());
        outer.record(Up, Duration::ZERO, &[&change[..], &[1; 60]].concat());
        for (direction, len) in [(Up, 665), (Down, 4745), (Up, 472), (Down, 1118), (Up, 100)] {
            outer.record(direction, Duration::ZERO, &vec![0x17; len]);
        }
        assert!(looks_like_tls_inside(&outer, 25, true));
    }
}
