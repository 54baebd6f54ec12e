//! What a run shows while it goes on, and what it says at its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::state::{Run, TargetState};
use crate::clock::MonotonicNs;
use crate::record::Failure;
use crate::stats::{Counts, Percentiles, SecondBin};

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Orders are sent, but do not count for the figures.
    #[default]
    WarmUp,
    /// Orders count.
    Measuring,
    /// No new orders; those in flight are finished.
    Finishing,
    /// Over.
    Finished,
}

/// Current counters of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetProgress {
    /// The target's name.
    pub name: String,
    /// Connections that are open.
    pub connections: u32,
    /// Orders being run.
    pub in_flight: u32,
    /// Orders by outcome, warm-up included.
    pub all: Counts,
    /// Orders by outcome, measured ones only.
    pub measured: Counts,
    /// Answered orders per minute over the last ten seconds.
    pub recent_orders_per_minute: f64,
    /// Worst latency among the orders that ended in the last ten seconds.
    pub recent_max_latency: Duration,
    /// How long the arrival that is now next has been waiting for a free connection: the queue's length as time.
    pub queue_lag: Duration,
    /// The last error's text, until an order is answered again.
    pub last_error: Option<String>,
}

/// Current counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it is.
    pub phase: RunPhase,
    /// Time since the start.
    pub elapsed: Duration,
    /// Time since the warm-up ended; zero before.
    pub measured: Duration,
    /// One for each target, in the order given.
    pub targets: Vec<TargetProgress>,
}

/// Figures of one target (or of all together) over the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// The target's name.
    pub name: String,
    /// Orders by outcome, warm-up included.
    pub all: Counts,
    /// Measured orders by outcome.
    pub measured: Counts,
    /// Answered orders per minute, rollbacks included, as the classic driver counts.
    pub orders_per_minute: f64,
    /// From the intended start to the end of answered orders.
    pub latency: Percentiles,
    /// The classic response time of answered orders: the sum of their database calls.
    pub response: Percentiles,
    /// How late the generator itself started orders. If this is not small, the run measures the generator.
    pub generator_lag: Percentiles,
    /// How late orders started because no connection was free.
    pub queue_lag: Percentiles,
    /// Longest time without an answered order.
    pub longest_gap_ms: f64,
    /// Errors by kind, warm-up included.
    pub errors: BTreeMap<Failure, u64>,
    /// Connections made anew after one was lost.
    pub reconnects: u64,
    /// Arrivals that were due before the end but found no free connection until then.
    pub not_started: u64,
}

/// What a run comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriveReport {
    /// When it started.
    pub started: MonotonicNs,
    /// When the measured time began.
    pub measured_from: MonotonicNs,
    /// When it stopped starting orders.
    pub stopped: MonotonicNs,
    /// When the last order in flight had ended.
    pub ended: MonotonicNs,
    /// All targets together (`name` is empty; the longest gap is the longest of any target).
    pub total: TargetReport,
    /// Each target.
    pub targets: Vec<TargetReport>,
    /// Seconds since `measured_from`, all targets together, measured orders only.
    pub seconds: Vec<SecondBin>,
}

/// The current counters of all targets.
pub(super) fn progress(run: &Run, targets: &[Arc<TargetState>], phase: RunPhase) -> Progress {
    let now = MonotonicNs::now();
    let elapsed = now.since(run.started);
    let of = |state: &Arc<TargetState>| TargetProgress {
        name: state.target.name.clone(),
        connections: state.connections.load(Ordering::Relaxed),
        in_flight: state.in_flight.load(Ordering::Relaxed),
        ..state.meter().progress(now, elapsed)
    };
    Progress {
        phase,
        elapsed,
        measured: now.since(run.measured_from),
        targets: targets.iter().map(of).collect(),
    }
}

/// The figures of a run that started no more orders from `stopped` on.
pub(super) fn drive_report(
    run: &Run,
    targets: &[Arc<TargetState>],
    stopped: MonotonicNs,
) -> DriveReport {
    let measured = stopped.since(run.measured_from);
    let of = |state: &Arc<TargetState>| state.meter().report(&state.target.name, measured, stopped);
    let reports: Vec<TargetReport> = targets.iter().map(of).collect();
    let mut sum = Meter::new(run.measured_from);
    for state in targets {
        sum.merge(&state.meter());
    }
    let mut total = sum.report("", measured, stopped);
    total.longest_gap_ms = reports.iter().map(|r| r.longest_gap_ms).fold(0.0, f64::max);
    DriveReport {
        started: run.started,
        measured_from: run.measured_from,
        stopped,
        ended: MonotonicNs::now(),
        total,
        targets: reports,
        seconds: run.timeline().seconds(),
    }
}
