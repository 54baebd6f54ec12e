//! Many users at a pace, against many databases at once.
//!
//! ```text
//! start(targets, config, sink) ─► per target: closed loop (a task for each user) or open loop (one dispatcher)
//!                                   each order: script ─► order::run ─► OrderRecord ─► sink, meters
//! ```
//! The load never falls silently: an error is recorded and the next order follows.

mod config;
mod report;

pub use config::{DriverConfig, Pace, Target, Timeouts};
pub use report::{DriveReport, Progress, RunPhase, TargetProgress, TargetReport};

use std::sync::Arc;

use tokio::sync::watch;

use crate::record::OrderRecord;

/// Takes every order as it ends. Called from the driver's tasks: it must not block.
pub type Sink = Arc<dyn Fn(OrderRecord) + Send + Sync>;

/// A run under way. Dropping it does not stop the run; [`StopHandle::stop`] does.
#[derive(Debug)]
pub struct Driver {
    progress: watch::Receiver<Progress>,
    stop: StopHandle,
    task: tokio::task::JoinHandle<DriveReport>,
}

/// Ends a run in good order: no new orders, those in flight are finished.
#[derive(Clone, Debug)]
pub struct StopHandle {
    stopped: Arc<watch::Sender<bool>>,
}

impl StopHandle {
    /// Asks the run to end. Harmless if it has ended.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
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
        self.stop.clone()
    }

    /// Changes the arrival rate of an open loop from the next gap on, for all targets; a closed loop ignores it.
    pub fn set_orders_per_minute(&self, orders_per_minute: f64) {
        let _ = orders_per_minute;
    }

    /// Waits for the end of the run: the run time is over, or it was stopped, and the orders in flight have ended.
    ///
    /// # Panics
    /// If a task of the driver panicked.
    pub async fn finished(self) -> DriveReport {
        self.task.await.expect("the driver's tasks do not panic and nobody aborts them")
    }
}

/// Starts a run on the current tokio runtime.
#[must_use]
pub fn start(targets: Vec<Target>, config: DriverConfig, sink: Sink) -> Driver {
    let _ = (targets, config, sink);
    unimplemented!()
}
