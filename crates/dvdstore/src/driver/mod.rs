//! Many users at a pace, against many databases at once.
//!
//! ```text
//! start ─► controller: progress, end of run, report
//!            └─ per target: closed loop (a task for each user) or open loop (one dispatcher, a task for each order)
//!                 └─ lane::order: script ─► Session::run ─► OrderRecord ─► meters, sink
//! ```
//! The load never falls silently: an error is recorded and the next order follows.

mod closed;
mod config;
mod lane;
mod meter;
mod open;
mod report;
mod state;

pub use config::{DriverConfig, Pace, Target, Timeouts};
pub use report::{DriveReport, Progress, RunPhase, TargetProgress, TargetReport};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::MonotonicNs;
use crate::record::OrderRecord;
use state::{Run, TargetState};

/// Takes every order as it ends. Called from the driver's tasks: it must not block.
pub type Sink = Arc<dyn Fn(OrderRecord) + Send + Sync>;

/// How often the live counters are refreshed.
const REFRESH: Duration = Duration::from_millis(250);

/// A run under way. Dropping it does not stop the run; [`StopHandle::stop`] does.
#[derive(Debug)]
pub struct Driver {
    progress: watch::Receiver<Progress>,
    run: Arc<Run>,
    task: JoinHandle<DriveReport>,
}

/// Ends a run in good order: no new orders, those in flight are finished.
#[derive(Clone, Debug)]
pub struct StopHandle {
    run: Arc<Run>,
}

impl StopHandle {
    /// Asks the run to end. Harmless if it has ended.
    pub fn stop(&self) {
        self.run.stop();
    }
}

impl Driver {
    /// Current counters, refreshed about four times a second.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// A handle that ends the run.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle {
            run: self.run.clone(),
        }
    }

    /// Changes the arrival rate of an open loop from the next gap on, for each target; a closed loop ignores it.
    pub fn set_orders_per_minute(&self, orders_per_minute: f64) {
        self.run.set_rate(orders_per_minute);
    }

    /// Waits for the end of the run: the run time is over, or it was stopped, and the orders in flight have ended.
    ///
    /// # Panics
    /// If a task of the driver panicked.
    pub async fn finished(self) -> DriveReport {
        self.task
            .await
            .expect("the driver's tasks do not panic and nobody aborts them")
    }
}

/// Starts a run on the current tokio runtime.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn start(targets: Vec<Target>, config: DriverConfig, sink: Sink) -> Driver {
    let run = Arc::new(Run::new(config, sink));
    let states: Vec<_> = targets
        .into_iter()
        .map(|t| Arc::new(TargetState::new(t, &run)))
        .collect();
    let (sender, progress) = watch::channel(report::progress(&run, &states, RunPhase::WarmUp));
    let task = tokio::spawn(control(run.clone(), states, sender));
    Driver {
        progress,
        run,
        task,
    }
}

/// Runs the targets, refreshes the progress, ends the run in time, and sums up.
async fn control(
    run: Arc<Run>,
    targets: Vec<Arc<TargetState>>,
    progress: watch::Sender<Progress>,
) -> DriveReport {
    let mut tasks = JoinSet::new();
    for target in &targets {
        match run.config.pace {
            Pace::Closed {
                users,
                ramp_per_second,
                think_time,
            } => {
                let ramp = closed::Ramp {
                    users,
                    per_second: ramp_per_second,
                    think_time,
                };
                tasks.spawn(closed::target(run.clone(), target.clone(), ramp));
            }
            Pace::Open { connections, .. } => {
                tasks.spawn(open::target(run.clone(), target.clone(), connections));
            }
        }
    }
    let mut refresh = tokio::time::interval(REFRESH);
    let mut stop = run.stop_signal();
    loop {
        tokio::select! {
            () = run.until_deadline() => run.stop(),
            _ = stop.wait_for(|stopped| *stopped) => break,
            _ = refresh.tick() => {}
        }
        let phase = if MonotonicNs::now() < run.measured_from {
            RunPhase::WarmUp
        } else {
            RunPhase::Measuring
        };
        progress.send_replace(report::progress(&run, &targets, phase));
    }
    let stopped = MonotonicNs::now();
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(result) => result.expect("the driver's tasks do not panic and nobody aborts them"),
                None => break,
            },
            _ = refresh.tick() => {}
        }
        progress.send_replace(report::progress(&run, &targets, RunPhase::Finishing));
    }
    progress.send_replace(report::progress(&run, &targets, RunPhase::Finished));
    report::drive_report(&run, &targets, stopped)
}
