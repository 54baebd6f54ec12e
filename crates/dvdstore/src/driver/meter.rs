//! The counters of one target.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::report::{TargetProgress, TargetReport};
use crate::clock::MonotonicNs;
use crate::record::{Failure, OrderRecord, Outcome};
use crate::stats::{Counts, Durations, Gaps};

/// What "recent" means in a progress display.
const RECENT: Duration = Duration::from_secs(10);

/// Everything counted for one target.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    all: Counts,
    measured: Counts,
    latency: Durations,
    response: Durations,
    generator_lag: Durations,
    queue_lag: Durations,
    gaps: Gaps,
    errors: BTreeMap<Failure, u64>,
    last_error: Option<String>,
    recent: VecDeque<Bucket>,
    pub(super) reconnects: u64,
    pub(super) not_started: u64,
    /// Since when the next arrival waits for a connection.
    pub(super) waiting_since: Option<MonotonicNs>,
}

/// One second of recent orders.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    second: u64,
    answered: u32,
    worst: Duration,
}

impl Meter {
    pub(super) fn new(measured_from: MonotonicNs) -> Meter {
        Meter {
            all: Counts::default(),
            measured: Counts::default(),
            latency: Durations::default(),
            response: Durations::default(),
            generator_lag: Durations::default(),
            queue_lag: Durations::default(),
            gaps: Gaps::new(measured_from),
            errors: BTreeMap::new(),
            last_error: None,
            recent: VecDeque::new(),
            reconnects: 0,
            not_started: 0,
            waiting_since: None,
        }
    }

    pub(super) fn record(&mut self, order: &OrderRecord) {
        self.all.add(&order.outcome);
        match &order.outcome {
            Outcome::Failed { reason, detail } | Outcome::Unknown { reason, detail } => {
                *self.errors.entry(*reason).or_default() += 1;
                self.last_error = Some(detail.clone());
            }
            Outcome::Committed { .. } | Outcome::RolledBack => {
                self.last_error = None;
                self.record_recent(order);
                self.gaps.answered(order.ended);
            }
        }
        if order.warm_up {
            return;
        }
        self.measured.add(&order.outcome);
        self.generator_lag.record(order.generator_lag);
        self.queue_lag.record(
            order
                .started
                .since(order.intended)
                .saturating_sub(order.generator_lag),
        );
        if order.outcome.is_answered() {
            self.latency.record(order.latency());
            self.response.record(order.steps.response());
        }
    }

    fn record_recent(&mut self, order: &OrderRecord) {
        let second = second_of(order.ended);
        if self.recent.back().is_none_or(|last| last.second < second) {
            self.recent.push_back(Bucket {
                second,
                answered: 0,
                worst: Duration::ZERO,
            });
        }
        if let Some(last) = self.recent.back_mut() {
            last.answered += 1;
            last.worst = last.worst.max(order.latency());
        }
        while self
            .recent
            .front()
            .is_some_and(|first| first.second + RECENT.as_secs() < second)
        {
            self.recent.pop_front();
        }
    }

    /// Fills in what the meter knows, for a run that has been going on for `elapsed`.
    pub(super) fn progress(&self, now: MonotonicNs, elapsed: Duration) -> TargetProgress {
        let recent = || {
            self.recent
                .iter()
                .filter(|b| b.second + RECENT.as_secs() >= second_of(now))
        };
        let answered: u32 = recent().map(|b| b.answered).sum();
        let window = elapsed.min(RECENT).as_secs_f64().max(1.0);
        TargetProgress {
            all: self.all,
            measured: self.measured,
            recent_orders_per_minute: f64::from(answered) * 60.0 / window,
            recent_max_latency: recent().map(|b| b.worst).max().unwrap_or_default(),
            queue_lag: self
                .waiting_since
                .map(|since| now.since(since))
                .unwrap_or_default(),
            last_error: self.last_error.clone(),
            ..TargetProgress::default()
        }
    }

    /// The figures over a measured time of `measured`, which was over at `stopped`.
    pub(super) fn report(
        &self,
        name: &str,
        measured: Duration,
        stopped: MonotonicNs,
    ) -> TargetReport {
        let minutes = measured.as_secs_f64() / 60.0;
        #[allow(clippy::cast_precision_loss)] // counts below 2^52 are exact
        let rate = if minutes > 0.0 {
            self.measured.answered() as f64 / minutes
        } else {
            0.0
        };
        TargetReport {
            name: name.to_owned(),
            all: self.all,
            measured: self.measured,
            orders_per_minute: rate,
            latency: self.latency.percentiles(),
            response: self.response.percentiles(),
            generator_lag: self.generator_lag.percentiles(),
            queue_lag: self.queue_lag.percentiles(),
            longest_gap_ms: self.gaps.longest(stopped).as_secs_f64() * 1e3,
            errors: self.errors.clone(),
            reconnects: self.reconnects,
            not_started: self.not_started,
        }
    }

    /// Adds another target's counters; gaps are not additive and stay as they are.
    pub(super) fn merge(&mut self, other: &Meter) {
        self.all = self.all.plus(other.all);
        self.measured = self.measured.plus(other.measured);
        self.latency.merge(&other.latency);
        self.response.merge(&other.response);
        self.generator_lag.merge(&other.generator_lag);
        self.queue_lag.merge(&other.queue_lag);
        for (reason, count) in &other.errors {
            *self.errors.entry(*reason).or_default() += count;
        }
        self.reconnects += other.reconnects;
        self.not_started += other.not_started;
    }
}

fn second_of(time: MonotonicNs) -> u64 {
    time.0 / 1_000_000_000
}
