//! What the tasks of a run share.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Sink;
use super::config::{DriverConfig, Pace, Target};
use super::meter::Meter;
use crate::clock::MonotonicNs;
use crate::record::{OrderRecord, Sequence};
use crate::script::Scripts;
use crate::stats::Timeline;

/// Below this an open loop would sleep for ever and never see a new rate.
const LOWEST_RATE: f64 = 0.001;

/// One run.
pub(super) struct Run {
    pub(super) config: DriverConfig,
    pub(super) started: MonotonicNs,
    pub(super) measured_from: MonotonicNs,
    /// When to stop starting orders; `None`: when told.
    deadline: Option<MonotonicNs>,
    stopped: watch::Sender<bool>,
    /// Arrivals per minute of each target, as the bits of an f64.
    rate: AtomicU64,
    timeline: Mutex<Timeline>,
    sink: Sink,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// One target of a run.
pub(super) struct TargetState {
    pub(super) target: Target,
    pub(super) scripts: Scripts,
    pub(super) connections: AtomicU32,
    pub(super) in_flight: AtomicU32,
    next_sequence: AtomicU64,
    meter: Mutex<Meter>,
}

impl Run {
    pub(super) fn new(config: DriverConfig, sink: Sink) -> Run {
        let started = MonotonicNs::now();
        let measured_from = started.after(config.warm_up);
        let rate = match config.pace {
            Pace::Open {
                orders_per_minute, ..
            } => orders_per_minute,
            Pace::Closed { .. } => 0.0,
        };
        let run = Run {
            started,
            measured_from,
            deadline: config.run_time.map(|time| measured_from.after(time)),
            stopped: watch::Sender::new(false),
            rate: AtomicU64::new(0),
            timeline: Mutex::new(Timeline::new(measured_from)),
            config,
            sink,
        };
        run.set_rate(rate);
        run
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(super) fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Returns when no more orders are to be started.
    pub(super) async fn until_stopped(&self) {
        // It cannot fail while `self` lives, which holds the sender.
        let _ = self.stop_signal().wait_for(|stopped| *stopped).await;
    }

    /// Returns at the end of the run time, if there is one.
    pub(super) async fn until_deadline(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep(deadline.from_now()).await,
            None => std::future::pending().await,
        }
    }

    /// Sleeps until `time`; false if the run was stopped before.
    pub(super) async fn sleep_until(&self, time: MonotonicNs) -> bool {
        if self.is_stopped() {
            return false;
        }
        let wait = time.from_now();
        if wait.is_zero() {
            // An order that is due must not starve the runtime's other tasks.
            tokio::task::yield_now().await;
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.until_stopped() => false,
        }
    }

    pub(super) fn set_rate(&self, orders_per_minute: f64) {
        self.rate.store(
            orders_per_minute.max(LOWEST_RATE).to_bits(),
            Ordering::Relaxed,
        );
    }

    /// The mean time between arrivals.
    pub(super) fn mean_gap(&self) -> Duration {
        Duration::from_secs_f64(60.0 / f64::from_bits(self.rate.load(Ordering::Relaxed)))
    }

    pub(super) fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an order and hands it to the caller.
    pub(super) fn record(&self, target: &TargetState, order: OrderRecord) {
        target.meter().record(&order);
        if !order.warm_up {
            self.timeline().record(&order);
        }
        (self.sink)(order);
    }
}

impl TargetState {
    pub(super) fn new(target: Target, run: &Run) -> TargetState {
        let scripts = Scripts::new(run.config.seed, target.number, target.size, run.config.mix);
        TargetState {
            scripts,
            connections: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            next_sequence: AtomicU64::new(0),
            meter: Mutex::new(Meter::new(run.measured_from)),
            target,
        }
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_sequence(&self) -> Sequence {
        Sequence(self.next_sequence.fetch_add(1, Ordering::Relaxed))
    }
}
