//! Counters that many threads add to without waiting for each other, and arrays of metrics by label: finding one takes no lock.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::Labels;

/// Threads beyond these share places.
const SHARDS: usize = 8;

/// A number in parts, of which each thread has its own to add to.
#[derive(Debug, Default)]
pub(super) struct Sharded([Shard; SHARDS]);

/// Alone in its line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

pub(super) type Count = Counter<u64, Sharded>;

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The place of this thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|own| {
        own.get().unwrap_or_else(|| {
            let place = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            own.set(Some(place));
            place
        })
    })
}

impl Atomic<u64> for Sharded {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// What this thread's part was.
    fn inc_by(&self, more: u64) -> u64 {
        self.0.get(shard()).map_or(0, |shard| shard.0.fetch_add(more, Ordering::Relaxed))
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// Names and values of labels.
pub(super) type Pairs = Vec<(&'static str, &'static str)>;

/// One metric for each value of a label, there from its first use.
#[derive(Debug)]
pub(super) struct Series<L, M> {
    family: Family<Pairs, M, fn() -> M>,
    known: Box<[OnceLock<M>]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, M: Made> Series<L, M> {
    pub(super) fn new() -> Self {
        let known = std::iter::repeat_with(OnceLock::new).take(L::COUNT).collect();
        Self { family: Family::new_with_constructor(M::made), known, labels: PhantomData }
    }

    /// Makes metrics that shall be there before they are used: a counter that is not there cannot be told from one at zero.
    pub(super) fn with(self, values: impl IntoIterator<Item = L>) -> Self {
        for value in values {
            self.of(value);
        }
        self
    }

    /// All of them.
    pub(super) fn complete(self) -> Self {
        self.with(L::all())
    }

    /// The metric of a value; `None` for what has none.
    pub(super) fn of(&self, labels: L) -> Option<&M> {
        let known = self.known.get(labels.index())?;
        Some(known.get_or_init(|| self.family.get_or_create_owned(&labels.pairs())))
    }

    pub(super) fn register(&self, registry: &mut Registry, name: &str, unit: Option<Unit>, help: &str)
    where
        Family<Pairs, M, fn() -> M>: EncodeMetric,
    {
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, self.family.clone()),
            None => registry.register(name, help, self.family.clone()),
        }
    }
}

impl<L: Labels> Series<L, Count> {
    pub(super) fn add(&self, labels: L) {
        if let Some(counter) = self.of(labels) {
            counter.inc();
        }
    }
}

impl<L: Labels> Series<L, Histogram> {
    pub(super) fn observe(&self, labels: L, duration: std::time::Duration) {
        if let Some(histogram) = self.of(labels) {
            histogram.observe(duration.as_secs_f64());
        }
    }
}

/// What a series can be of.
pub(super) trait Made: TypedMetric + std::fmt::Debug + Clone + Send + Sync + 'static {
    fn made() -> Self;
}

impl Made for Count {
    fn made() -> Self {
        Self::default()
    }
}

impl Made for Gauge {
    fn made() -> Self {
        Self::default()
    }
}

impl Made for Gauge<f64, AtomicU64> {
    fn made() -> Self {
        Self::default()
    }
}

/// Of durations from a millisecond to half a minute.
impl Made for Histogram {
    fn made() -> Self {
        Self::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::Kind;
    use super::*;

    #[test]
    fn what_many_threads_count_is_all_there() {
        let series = Series::<Kind, Count>::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| series.add(Kind::Udp)));
            }
        });
        assert_eq!(series.of(Kind::Udp).unwrap().get(), 2 * SHARDS as u64 * 1000);
        assert_eq!(series.of(Kind::Tcp).unwrap().get(), 0);
    }
}
