//! Figures from orders: percentiles, gaps, seconds.
//!
//! Histograms are HdrHistogram in microseconds. Percentiles of single seconds come from a histogram each, so that a
//! second with one order and a second with a thousand are treated alike.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::MonotonicNs;
use crate::record::{OrderRecord, Outcome};

/// Percentiles of a set of durations, in milliseconds; all zero if the set is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many durations.
    pub count: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95 %.
    pub p95_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// A histogram of durations with three significant digits.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Durations(Histogram::new(3).expect("3 digits are within the histogram's 0 to 5"))
    }
}

impl Durations {
    /// Adds a duration (resolution one microsecond).
    pub fn record(&mut self, d: Duration) {
        record(&mut self.0, d);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Durations) {
        self.0 += &other.0;
    }

    /// Its percentiles.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        percentiles(&self.0)
    }
}

/// Orders by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Committed.
    pub committed: u64,
    /// Rolled back for want of stock.
    pub rolled_back: u64,
    /// Certainly not done.
    pub failed: u64,
    /// Known to the database only.
    pub unknown: u64,
}

impl Counts {
    /// Counts one.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Committed { .. } => self.committed += 1,
            Outcome::RolledBack => self.rolled_back += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Unknown { .. } => self.unknown += 1,
        }
    }

    /// Orders that the shop answered. The classic driver counts these.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.committed + self.rolled_back
    }

    /// Orders with an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failed + self.unknown
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            committed: self.committed + other.committed,
            rolled_back: self.rolled_back + other.rolled_back,
            failed: self.failed + other.failed,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// One second of a run, by when orders ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondBin {
    /// Seconds since the origin of the timeline.
    pub second: u64,
    /// What ended in it.
    pub counts: Counts,
    /// Latencies of answered orders.
    pub latency: Percentiles,
}

/// The seconds of a run.
#[derive(Clone, Debug)]
pub struct Timeline {
    origin: MonotonicNs,
    seconds: BTreeMap<u64, (Counts, Histogram<u32>)>,
}

impl Timeline {
    /// A timeline whose second 0 begins at `origin`.
    #[must_use]
    pub fn new(origin: MonotonicNs) -> Timeline {
        Timeline {
            origin,
            seconds: BTreeMap::new(),
        }
    }

    /// Adds an order; one that ended before the origin counts for second 0.
    pub fn record(&mut self, order: &OrderRecord) {
        let second = order.ended.since(self.origin).as_secs();
        // Two digits: one per cent is finer than what a single second can tell.
        let (counts, latency) = self.seconds.entry(second).or_insert_with(|| {
            (
                Counts::default(),
                Histogram::new(2).expect("2 digits are within the histogram's 0 to 5"),
            )
        });
        counts.add(&order.outcome);
        if order.outcome.is_answered() {
            record(latency, order.latency());
        }
    }

    /// The seconds in which orders ended, in order; a second without any is left out.
    #[must_use]
    pub fn seconds(&self) -> Vec<SecondBin> {
        let bin = |(&second, (counts, latency)): (&u64, &(Counts, Histogram<u32>))| SecondBin {
            second,
            counts: *counts,
            latency: percentiles(latency),
        };
        self.seconds.iter().map(bin).collect()
    }
}

/// Only `record` makes the histogram grow; its saturating sibling would cut a long latency down to what has been seen.
fn record<T: hdrhistogram::Counter>(h: &mut Histogram<T>, d: Duration) {
    // 2^40 microseconds are 12 days: there the histogram would outgrow memory before it could refuse.
    let micros = u64::try_from(d.as_micros())
        .unwrap_or(u64::MAX)
        .min(1 << 40);
    // It resizes itself, so nothing is out of its range.
    let _ = h.record(micros);
}

#[allow(clippy::cast_precision_loss)] // microseconds below 2^52 are exact: 142 years
fn percentiles<T: hdrhistogram::Counter>(h: &Histogram<T>) -> Percentiles {
    let at = |q| h.value_at_quantile(q) as f64 / 1e3;
    Percentiles {
        count: h.len(),
        mean_ms: h.mean() / 1e3,
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: h.max() as f64 / 1e3,
    }
}

/// The longest time in which a target answered nothing, between the ends of successive answered orders.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    last: MonotonicNs,
    longest: Duration,
}

impl Gaps {
    /// Begins to watch at `origin`.
    #[must_use]
    pub fn new(origin: MonotonicNs) -> Gaps {
        Gaps {
            last: origin,
            longest: Duration::ZERO,
        }
    }

    /// An answered order ended.
    pub fn answered(&mut self, ended: MonotonicNs) {
        self.longest = self.longest.max(ended.since(self.last));
        self.last = self.last.max(ended);
    }

    /// The longest gap so far, the one still open at `now` included.
    #[must_use]
    pub fn longest(&self, now: MonotonicNs) -> Duration {
        self.longest.max(now.since(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orderlog::tests::record as order;
    use crate::record::{Cents, Failure, OrderId};

    #[test]
    fn percentiles_keep_the_long_ones() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentiles(), Percentiles::default());
        for ms in 1..=999 {
            durations.record(Duration::from_millis(ms));
        }
        durations.record(Duration::from_secs(90));
        let p = durations.percentiles();
        let near = |is: f64, should: f64| {
            assert!(
                (is / should - 1.0).abs() < 0.002,
                "{is} instead of {should}"
            );
        };
        near(p.p50_ms, 500.0);
        near(p.p95_ms, 950.0);
        near(p.p999_ms, 999.0);
        near(p.max_ms, 90_000.0);
        near(p.mean_ms, 589.5);
        assert_eq!(p.count, 1_000);
    }

    #[test]
    fn seconds_hold_what_ended_in_them() {
        let committed = || Outcome::Committed {
            order_id: OrderId(1),
            net: Cents(1),
        };
        let failed = || Outcome::Failed {
            reason: Failure::Sql,
            detail: String::new(),
        };
        let mut timeline = Timeline::new(MonotonicNs(1_000_000_000));
        for (second, outcome) in [(1, committed()), (1, failed()), (4, Outcome::RolledBack)] {
            let mut order = order(1, outcome);
            order.ended = MonotonicNs((second + 1) * 1_000_000_000 + 7);
            order.intended = MonotonicNs(order.ended.0 - 2_000_000_000);
            timeline.record(&order);
        }
        let seconds = timeline.seconds();
        assert_eq!(seconds.iter().map(|s| s.second).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(
            (seconds[0].counts.committed, seconds[0].counts.failed),
            (1, 1)
        );
        assert_eq!(seconds[0].latency.count, 1, "failures have no latency");
        assert!((seconds[1].latency.max_ms / 2_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn an_open_gap_counts() {
        let mut gaps = Gaps::new(MonotonicNs(0));
        gaps.answered(MonotonicNs(5));
        gaps.answered(MonotonicNs(7));
        assert_eq!(gaps.longest(MonotonicNs(8)), Duration::from_nanos(5));
        assert_eq!(gaps.longest(MonotonicNs(20)), Duration::from_nanos(13));
    }
}
