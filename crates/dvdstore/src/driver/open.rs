//! The open loop: orders arrive whether or not the target keeps up.
//!
//! One dispatcher for each target walks through the arrivals. An arrival that finds all connections busy makes it wait,
//! and all after it: the queue is not stored, it is the part of the arrivals whose time has passed. Nothing is skipped.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::lane::{Due, Lane, Next};
use super::state::{Run, TargetState};
use crate::clock::MonotonicNs;

/// The lanes that are free; the one used last is used next, so that few connections serve a light load.
type Idle = Arc<Mutex<Vec<Lane>>>;

/// Sends a target's arrivals until the run is stopped.
pub(super) async fn target(run: Arc<Run>, target: Arc<TargetState>, connections: u32) {
    let permits = Arc::new(Semaphore::new(connections.max(1) as usize));
    let idle: Idle = Arc::default();
    let mut orders = JoinSet::new();
    let mut intended = run.started;
    for script in 0.. {
        intended = intended.after(run.mean_gap().mul_f64(target.scripts.arrival_gap(script)));
        if !run.sleep_until(intended).await {
            break;
        }
        let Some((permit, ready)) = permit(&run, &target, &permits, intended).await else {
            break;
        };
        let lane = take(&idle).unwrap_or_else(|| Lane::new(run.clone(), target.clone()));
        let due = Due {
            user: 0,
            script,
            intended,
            ready,
        };
        orders.spawn(order(run.clone(), lane, due, idle.clone(), permit));
        while orders.try_join_next().is_some() {}
    }
    count_not_started(&run, &target, intended);
    orders.join_all().await;
    while let Some(lane) = take(&idle) {
        lane.close().await;
    }
}

async fn order(run: Arc<Run>, mut lane: Lane, due: Due, idle: Idle, permit: OwnedSemaphorePermit) {
    if let Next::Pause(pause) = lane.order(due).await {
        // The lane keeps its permit meanwhile: a dead target is tried ever more slowly.
        run.sleep_until(MonotonicNs::now().after(pause)).await;
    }
    idle.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(lane);
    drop(permit);
}

/// The right to use a connection, and when it was there; `None` if the run was stopped before.
async fn permit(
    run: &Run,
    target: &TargetState,
    permits: &Arc<Semaphore>,
    intended: MonotonicNs,
) -> Option<(OwnedSemaphorePermit, MonotonicNs)> {
    if let Ok(permit) = permits.clone().try_acquire_owned() {
        return Some((permit, intended));
    }
    target.meter().waiting_since = Some(intended);
    let permit = tokio::select! {
        permit = permits.clone().acquire_owned() => permit.ok(),
        () = run.until_stopped() => None,
    };
    target.meter().waiting_since = None;
    permit.map(|permit| (permit, MonotonicNs::now()))
}

/// Counts the arrivals that were due when the run was stopped and found no connection: `intended` is the first that was
/// not started.
fn count_not_started(run: &Run, target: &TargetState, intended: MonotonicNs) {
    let backlog = MonotonicNs::now().since(intended);
    if !backlog.is_zero() {
        // Beyond the first, their number is what the rate makes of the time; drawing each of them changes nothing.
        let more = backlog.as_secs_f64() / run.mean_gap().as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // positive, and cut on purpose
        let more = more as u64;
        target.meter().not_started += 1 + more;
    }
}

fn take(idle: &Idle) -> Option<Lane> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}
