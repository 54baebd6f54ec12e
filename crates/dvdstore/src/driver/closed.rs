//! The closed loop: each user orders, thinks, and orders again.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::lane::{Due, Lane, Next};
use super::state::{Run, TargetState};
use crate::clock::MonotonicNs;

/// How users come and think.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    pub(super) users: u32,
    pub(super) per_second: f64,
    pub(super) think_time: Duration,
}

/// Runs all users of a target until the run is stopped.
pub(super) async fn target(run: Arc<Run>, target: Arc<TargetState>, ramp: Ramp) {
    let mut users = JoinSet::new();
    for number in 0..ramp.users {
        users.spawn(user(run.clone(), target.clone(), number, ramp));
    }
    users.join_all().await;
}

async fn user(run: Arc<Run>, target: Arc<TargetState>, number: u32, ramp: Ramp) {
    let delay =
        Duration::try_from_secs_f64(f64::from(number) / ramp.per_second).unwrap_or_default();
    let mut intended = run.started.after(delay);
    let mut lane = Lane::new(run.clone(), target.clone());
    for script in 0.. {
        if !run.sleep_until(intended).await {
            break;
        }
        let due = Due {
            user: number,
            script,
            intended,
            ready: intended,
        };
        let pause = match lane.order(due).await {
            Next::Go => Duration::ZERO,
            Next::Pause(pause) => pause,
        };
        let thinking = target.scripts.think_time(number, script, ramp.think_time);
        intended = MonotonicNs::now().after(thinking.max(pause));
    }
    lane.close().await;
}
