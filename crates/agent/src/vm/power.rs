//! Start, stop, kill, pause, resume.

use super::actor::{Activity, Actor, Machine, State};
use super::launch::{self, launch};
use super::{Reply, requirements};
use crate::answer::{Answer, Tell, blocking, conflict, tell};
use crate::processes::Stuck;
use godwit_api::agent::{PowerRequest, VmView};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_lease::{Claim, ClaimError, Lease, Purpose, newest_definition, write_definition};
use godwit_model::epoch::Epoch;
use godwit_model::vm::{VmDefinition, VmState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A power request to a VM without QEMU.
pub async fn while_stopped(
    actor: &mut Actor,
    request: PowerRequest,
    reply: Reply<VmView>,
) -> State {
    let stopped = State::Stopped { unreleased: None };
    match request {
        PowerRequest::Start { epoch } => start(actor, epoch, reply).await,
        // What is asked for is so already.
        PowerRequest::Stop { .. } | PowerRequest::Kill => {
            drop(reply.send(Ok(actor.view())));
            stopped
        }
        PowerRequest::Pause | PowerRequest::Resume => {
            let text = format!("VM {} is stopped: start it", actor.definition.name);
            drop(reply.send(Err(conflict(text))));
            stopped
        }
    }
}

/// A power request to a VM with a QEMU.
pub async fn while_up(
    actor: &mut Actor,
    machine: &Machine,
    activity: &mut Activity,
    request: PowerRequest,
    reply: Reply<VmView>,
) {
    let done = match request {
        PowerRequest::Start { epoch } if machine.claim.epoch() == epoch => Ok(()),
        PowerRequest::Start { .. } => Err(conflict(format!(
            "VM {} runs already, by epoch {}",
            actor.definition.name,
            machine.claim.epoch()
        ))),
        PowerRequest::Stop { grace_seconds } => {
            return stop(actor, machine, activity, grace_seconds, reply).await;
        }
        PowerRequest::Kill => {
            actor.expected_end = Some("it was killed by an operator".to_owned());
            return match kill_now(actor, machine).await {
                Ok(()) => wait_for_end(activity, reply),
                Err(error) => drop(reply.send(Err(error))),
            };
        }
        PowerRequest::Pause => machine.monitor.stop().await.told(ErrorCode::Internal),
        // The claim is held: nothing has ended it since QEMU ran last.
        PowerRequest::Resume => machine.monitor.cont().await.told(ErrorCode::Internal),
    };
    actor.look(machine, activity).await;
    actor.show_up(machine, activity.shown());
    drop(reply.send(done.map(|()| actor.view())));
}

async fn stop(
    actor: &mut Actor,
    machine: &Machine,
    activity: &mut Activity,
    grace_seconds: u32,
    reply: Reply<VmView>,
) {
    let asked = match activity {
        // Asked once already: both wait for the same end, the earlier deadline counts.
        Activity::Stopping { .. } => Ok(()),
        Activity::Running => machine.monitor.system_powerdown().await,
        // A guest that does not run cannot power off; the grace is given all the same.
        Activity::Paused | Activity::IoError => {
            let resumed = machine.monitor.cont().await;
            match resumed {
                Ok(()) => machine.monitor.system_powerdown().await,
                Err(error) => Err(error),
            }
        }
    };
    if let Err(error) = asked {
        drop(reply.send(Err(tell(ErrorCode::Internal, &error))));
        return;
    }
    actor.expected_end = Some("it was stopped by an operator".to_owned());
    let until = Instant::now() + Duration::from_secs(grace_seconds.into());
    match activity {
        Activity::Stopping {
            until: earlier,
            waiting,
        } => {
            *earlier = until.min(*earlier);
            waiting.push(reply);
        }
        _ => {
            let waiting = vec![reply];
            *activity = Activity::Stopping { until, waiting };
        }
    }
}

/// Waits for the end that is sure to come.
fn wait_for_end(activity: &mut Activity, reply: Reply<VmView>) {
    if let Activity::Stopping { waiting, .. } = activity {
        waiting.push(reply);
        return;
    }
    // Far in the future: it was killed already, nothing more needs to be done then.
    let until = Instant::now() + Duration::from_secs(3600);
    let waiting = vec![reply];
    *activity = Activity::Stopping { until, waiting };
}

/// Kills QEMU; the actor's loop sees the end.
pub async fn kill_now(actor: &mut Actor, machine: &Machine) -> Answer<()> {
    let killed: Result<String, Stuck> = machine.process.kill().await;
    if let Err(error) = killed {
        let error = tell(ErrorCode::Unavailable, &error);
        actor.event("vm.stuck", &error.message);
        let problem = error.message.clone();
        actor.show(|view| view.problem = Some(problem));
        return Err(error);
    }
    Ok(())
}

/// Starts a VM: wins the epoch, then makes QEMU, then lets it run. Each failure undoes all.
async fn start(actor: &mut Actor, epoch: Epoch, reply: Reply<VmView>) -> State {
    actor.show(|view| {
        view.state = VmState::Starting;
        view.problem = None;
    });
    let claim = match claim(actor, epoch).await {
        Ok(claim) => claim,
        Err(NoClaim::Refused(error)) => {
            let state = actor.after_refused_claim(&error).await;
            stopped(actor, tell(ErrorCode::Conflict, &error), reply);
            return state;
        }
        Err(NoClaim::Cannot(error)) => {
            stopped(actor, error, reply);
            return State::Stopped { unreleased: None };
        }
    };
    match run_by(actor, claim).await {
        Ok(machine) => {
            actor.event(
                "vm.started",
                format!("runs on {}, epoch {epoch}", actor.host.config.id),
            );
            actor.show_up(&machine, VmState::Running);
            drop(reply.send(Ok(actor.view())));
            State::Up {
                machine: Box::new(machine),
                activity: Activity::Running,
            }
        }
        Err((claim, error)) => {
            // Undoes the claim: no QEMU runs by it.
            let unreleased = release(actor, claim).await;
            stopped(actor, error, reply);
            State::Stopped { unreleased }
        }
    }
}

fn stopped(actor: &mut Actor, error: ApiError, reply: Reply<VmView>) {
    if actor.host.board.vm(actor.definition.id).is_some() {
        actor.show(|view| view.state = VmState::Stopped);
    }
    drop(reply.send(Err(error)));
}

enum NoClaim {
    /// The lease says no.
    Refused(ClaimError),
    /// It was not asked, or gave no answer.
    Cannot(ApiError),
}

async fn claim(actor: &mut Actor, epoch: Epoch) -> Result<Claim, NoClaim> {
    let home = actor.home.clone();
    let newest =
        blocking(move || newest_definition::<VmDefinition>(&home).told(ErrorCode::Unavailable));
    // Another host may have run the VM since this one saw its definition.
    actor.definition = newest.await.map_err(NoClaim::Cannot)?.content;
    let definition = actor.definition.clone();
    actor.show(|view| view.definition = definition);
    requirements::check(&actor.host, &actor.definition).map_err(NoClaim::Cannot)?;
    let (home, lease) = (actor.home.clone(), Arc::clone(&actor.host.lease));
    let claimed = tokio::task::spawn_blocking(move || win(&*lease, &home, epoch)).await;
    match claimed {
        Ok(Ok(claim)) => Ok(claim),
        Ok(Err(error @ (ClaimError::Lost { .. } | ClaimError::Refused(_)))) => {
            Err(NoClaim::Refused(error))
        }
        // An outcome that is not known leaves no QEMU behind: if the epoch was won after all,
        // the next start or the agent's restart finds it held and releases it.
        Ok(Err(error)) => Err(NoClaim::Cannot(tell(ErrorCode::Unavailable, &error))),
        Err(error) => Err(NoClaim::Cannot(tell(ErrorCode::Internal, &error))),
    }
}

/// Wins an epoch for a cold start. A former boot of this host is over, and its QEMU with it; an
/// earlier attempt at this very number that was won unseen is found again.
fn win(lease: &dyn Lease, home: &godwit_lease::VmHome, epoch: Epoch) -> Result<Claim, ClaimError> {
    lease
        .release_former_boot(home)
        .map_err(ClaimError::Unreachable)?;
    match lease.claim(home, epoch, Purpose::Start) {
        Err(error @ (ClaimError::Lost { .. } | ClaimError::Refused(_))) => {
            let held = lease.held(home).map_err(ClaimError::Unreachable)?;
            held.filter(|claim| claim.epoch() == epoch && *claim.purpose() == Purpose::Start)
                .ok_or(error)
        }
        claimed => claimed,
    }
}

/// From a won claim to a running guest.
async fn run_by(actor: &mut Actor, claim: Claim) -> Result<Machine, (Claim, ApiError)> {
    if let Err(error) = write_down(actor, &claim).await {
        return Err((claim, error));
    }
    let qemu = match launch(&actor.host, &actor.definition, false).await {
        Ok(qemu) => qemu,
        Err(error) => return Err((claim, error)),
    };
    // Allowed by the claim: won for this start, and this is the only QEMU by it.
    if let Err(error) = qemu.monitor.cont().await {
        let error = tell(ErrorCode::Internal, &error);
        if let Err(stuck) = launch::destroy(&actor.host, &actor.definition, &qemu.process).await {
            tracing::error!(vm = %actor.definition.id, error = stuck.message, "after a failed start");
        }
        return Err((claim, error));
    }
    Ok(Machine::new(qemu, claim))
}

async fn write_down(actor: &Actor, claim: &Claim) -> Answer<()> {
    actor.remember(Some(claim), None).await?;
    let (home, epoch, definition) = (actor.home.clone(), claim.epoch(), actor.definition.clone());
    blocking(move || write_definition(&home, epoch, &definition).told(ErrorCode::Unavailable)).await
}

/// Releases an epoch whose QEMU is gone, and shows the VM as stopped. Gives the claim back if
/// the storage does not answer.
pub async fn release(actor: &mut Actor, claim: Claim) -> Option<Claim> {
    let vm = actor.definition.id;
    if !actor.host.processes.is_gone(vm) {
        tracing::error!(%vm, "its process is not gone: the epoch is kept");
        return Some(claim);
    }
    let (home, lease) = (actor.home.clone(), Arc::clone(&actor.host.lease));
    let released = tokio::task::spawn_blocking(move || lease.release(&home, claim)).await;
    let unreleased = match released {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::warn!(%vm, error = crate::answer::whole(&error), "will be tried again");
            Some(*error.claim)
        }
        Err(error) => {
            // The claim is lost with the panic; a restart of the agent finds and releases it.
            tracing::error!(%vm, %error, "a defect while releasing");
            None
        }
    };
    let problem = unreleased.as_ref().map(|claim: &Claim| {
        format!(
            "the datastore does not answer: epoch {} cannot be released yet",
            claim.epoch()
        )
    });
    if unreleased.is_none()
        && let Err(error) = actor.remember(None, None).await
    {
        tracing::warn!(%vm, error = error.message, "the VM's record is out of date");
    }
    actor.slot.show_monitor(None);
    actor.show(|view| {
        view.state = VmState::Stopped;
        view.epoch = None;
        view.pid = None;
        view.migration = None;
        view.problem = problem;
        view.sockets = godwit_api::agent::VmSockets::default();
    });
    unreleased
}
