//! Moving a VM: the manager prepares the destination, tells the source, and then only
//! watches. The two agents end every migration by themselves; the manager may die at any
//! moment and finds out afterwards how it ended.

use super::{Done, Failure, Handle, host_up, vm_of};
use crate::core::Core;
use crate::live::LiveHost;
use godwit_api::agent::{
    IncomingRequest, MigrationOptions, MigrationView, OutgoingRequest, PeerRef, Phase, Progress,
};
use godwit_api::error::ErrorCode;
use godwit_api::farm::MigrationInfo;
use godwit_api::http::CallError;
use godwit_model::epoch::Epoch;
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::ids::{HostId, MigrationId, VmId};
use godwit_model::migration::Outcome;
use godwit_model::task::{Severity, Subject};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// How long a poll of the source waits; also how often progress is shown.
const POLL: Duration = Duration::from_secs(1);
/// How long to wait before a host that does not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// What is moved where.
pub(super) struct Plan<'a> {
    pub vm: VmId,
    pub migration: MigrationId,
    pub epoch: Epoch,
    pub source: &'a HostId,
    pub destination: &'a HostId,
    pub options: MigrationOptions,
}

/// Both ends of a migration, as the manager calls them.
struct Ends {
    source: LiveHost,
    destination: LiveHost,
}

/// Moves a VM, or finds out how a move ended that was under way before a restart.
pub(super) async fn run(core: &Arc<Core>, handle: &Handle, plan: &Plan<'_>) -> Done {
    let (vm, subject) = vm_of(core, plan.vm)?;
    let ends = Ends {
        source: host_up(core, plan.source)?,
        destination: host_up(core, plan.destination)?,
    };
    // Before the hosts' places, which others could use meanwhile.
    let application = vm.row.definition.application.clone();
    let _alone = match &application {
        None => None,
        Some(name) => {
            handle.progress(0, format!("waits for other moves of {name}"));
            tokio::select! {
                place = core.limits.application(name) => Some(place),
                () = handle.cancelled() => return Err(Failure::Cancelled),
            }
        }
    };
    handle.progress(0, "waits for a place among the hosts' migrations");
    let _places = tokio::select! {
        places = core.limits.migration(plan.source, plan.destination) => places,
        () = handle.cancelled() => return Err(Failure::Cancelled),
    };
    let mut info = core
        .store
        .migration(plan.migration)?
        .unwrap_or_else(|| MigrationInfo {
            id: plan.migration,
            vm: plan.vm,
            vm_name: vm.row.definition.name.clone(),
            source: plan.source.clone(),
            destination: plan.destination.clone(),
            task: handle.id(),
            phase: Phase::Prepare,
            detail: String::new(),
            progress: Progress::default(),
            outcome: None,
            receipt: None,
        });
    let result = match ends
        .source
        .client
        .migration(plan.migration, None, Duration::ZERO)
        .await
    {
        // Under way already: the manager was restarted.
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            keep(core, &info)?;
            begin(core, handle, plan, &ends, &vm.row.definition).await
        }
        Err(error) => Err(error.into()),
    };
    let view = match result {
        Ok(()) => follow(core, handle, plan, &ends, &mut info).await?,
        Err(failure) => {
            let reason = failure.to_string();
            info.phase = Phase::Stayed;
            info.detail.clone_from(&reason);
            info.outcome = Some(Outcome::Stayed { reason });
            keep(core, &info)?;
            return Err(failure);
        }
    };
    finish(core, handle, plan, subject, info, view).await
}

/// Prepares the destination and tells the source. What fails here is undone here: the VM
/// runs at the source as before.
async fn begin(
    core: &Core,
    handle: &Handle,
    plan: &Plan<'_>,
    ends: &Ends,
    definition: &godwit_model::vm::VmDefinition,
) -> Result<(), Failure> {
    let began = Instant::now();
    handle.progress(1, format!("prepares {}", plan.destination));
    let request = IncomingRequest {
        protocol: PROTOCOL_VERSION,
        migration: plan.migration,
        definition: definition.clone(),
        epoch: plan.epoch,
        source: peer(&ends.source),
        options: plan.options,
        page_key: Some(core.keys.page_key.clone()),
    };
    let reply = ends.destination.client.incoming(&request).await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            // Without an answer the destination may be ready all the same.
            abort(ends, plan.migration, "the manager had no answer").await;
            return Err(error.into());
        }
    };
    if handle.is_cancelled() {
        abort(ends, plan.migration, "cancelled").await;
        return Err(Failure::Cancelled);
    }
    let request = OutgoingRequest {
        migration: plan.migration,
        vm: plan.vm,
        epoch: plan.epoch,
        destination: peer(&ends.destination),
        relay: reply.relay,
        prepare_ms: began.elapsed().as_secs_f64() * 1e3,
        options: plan.options,
        page_key: Some(core.keys.page_key.clone()),
    };
    match ends.source.client.outgoing(&request).await {
        Ok(_) => Ok(()),
        // It may have begun without our hearing of it: `follow` finds out.
        Err(CallError::NoAnswer { .. }) => Ok(()),
        Err(error) => {
            abort(ends, plan.migration, "the source refused").await;
            Err(error.into())
        }
    }
}

fn peer(host: &LiveHost) -> PeerRef {
    PeerRef {
        id: host.row.id.clone(),
        address: host.row.address,
    }
}

/// The destination gives up by itself when nothing arrives; this only makes it quicker.
async fn abort(ends: &Ends, migration: MigrationId, reason: &str) {
    if let Err(error) = ends.destination.client.abort(migration, reason).await {
        tracing::debug!(%migration, %error, "the destination was not told to give up");
    }
}

/// Watches until the migration has ended. A host that does not answer is asked again for
/// as long as it takes: the end is its to tell.
async fn follow(
    core: &Core,
    handle: &Handle,
    plan: &Plan<'_>,
    ends: &Ends,
    info: &mut MigrationInfo,
) -> Result<MigrationView, Failure> {
    let mut known = None;
    let mut cancelling = false;
    loop {
        let poll = ends.source.client.migration(plan.migration, known, POLL);
        let answer = tokio::select! {
            answer = poll => answer,
            () = handle.cancelled(), if !cancelling => {
                cancelling = true;
                cancel(handle, plan, ends).await;
                continue;
            }
        };
        match answer {
            Ok(view) => {
                known = Some(view.phase);
                show(core, handle, info, &view);
                if view.outcome.is_some() && (view.receipt.is_some() || view.phase.is_final()) {
                    return Ok(view);
                }
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return ask_destination(plan, ends).await;
            }
            Err(error) => {
                handle.progress(50, format!("waits for {}: {error}", plan.source));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn cancel(handle: &Handle, plan: &Plan<'_>, ends: &Ends) {
    if let Err(error) = ends.source.client.cancel(plan.migration).await {
        handle.progress(90, format!("cannot be cancelled any more: {error}"));
    }
}

/// The source knows nothing of the migration: it never began there, or its host was
/// restarted since. The destination says whether the VM arrived.
async fn ask_destination(plan: &Plan<'_>, ends: &Ends) -> Result<MigrationView, Failure> {
    loop {
        let client = &ends.destination.client;
        match client.migration(plan.migration, None, Duration::ZERO).await {
            Ok(view) if view.phase.is_final() => return Ok(view),
            Ok(_) => abort(ends, plan.migration, "the source does not know of it").await,
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return Err(Failure::Failed(
                    "the migration did not begin; the VM is as it was".to_owned(),
                ));
            }
            Err(error) => {
                tracing::info!(migration = %plan.migration, %error, "waits for the destination");
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Shows a migration's progress in its task and to those who look at migrations.
fn show(core: &Core, handle: &Handle, info: &mut MigrationInfo, view: &MigrationView) {
    let Progress {
        total,
        remaining,
        mbit_per_second,
        rounds,
        ..
    } = view.progress;
    let (percent, step) = match view.phase {
        Phase::Prepare => (2, "prepares".to_owned()),
        Phase::Precopy => {
            let sent = total.0.saturating_sub(remaining.0);
            let percent = 3 + (sent * 85).checked_div(total.0).unwrap_or(0);
            let step = format!(
                "sends memory: {remaining} left, round {rounds}, {mbit_per_second:.0} Mbit/s"
            );
            (u8::try_from(percent).unwrap_or(88), step)
        }
        Phase::Blackout => (90, "sends the rest".to_owned()),
        Phase::Commit => (94, "waits for the destination's claim".to_owned()),
        Phase::Activate => (97, "starts at the destination".to_owned()),
        Phase::Held => (95, format!("held: {}", view.detail)),
        Phase::Running | Phase::GaveBack | Phase::Stayed => (99, view.detail.clone()),
    };
    handle.progress(percent, step);
    info.phase = view.phase;
    info.progress = view.progress;
    info.detail.clone_from(&view.detail);
    if let Err(error) = keep(core, info) {
        tracing::error!(%error, "a migration's progress was not written down");
    }
}

async fn finish(
    core: &Core,
    handle: &Handle,
    plan: &Plan<'_>,
    subject: Subject,
    mut info: MigrationInfo,
    view: MigrationView,
) -> Done {
    let outcome = view.outcome.clone().unwrap_or_else(|| match view.phase {
        Phase::Running => Outcome::Moved,
        _ => Outcome::Stayed {
            reason: view.detail.clone(),
        },
    });
    info.phase = view.phase;
    info.outcome = Some(outcome.clone());
    info.receipt.clone_from(&view.receipt);
    info.detail.clone_from(&view.detail);
    keep(core, &info)?;
    match outcome {
        Outcome::Moved => {
            core.live.update_vm(plan.vm, |row| {
                row.host = plan.destination.clone();
                row.newest_epoch = row.newest_epoch.max(Some(plan.epoch));
            })?;
            refresh(core, plan.vm, plan.destination).await;
            let message = moved_message(plan, &subject, &info);
            core.event(
                "vm.migrated",
                Severity::Info,
                subject,
                message,
                Some(handle.id()),
            );
            Ok(Some(plan.migration.to_string()))
        }
        Outcome::Stayed { reason } => {
            refresh(core, plan.vm, plan.source).await;
            if handle.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            Err(Failure::Failed(format!(
                "{} stayed on {}: {reason}",
                subject.name, plan.source
            )))
        }
    }
}

/// What the VM does now, read at once, so that whoever waited for the task sees it.
async fn refresh(core: &Core, vm: VmId, host: &HostId) {
    if let Some(live) = core.live.host(host)
        && let Ok(view) = live.client.vm(vm).await
        && let Err(error) = core.live.report_vm(host, view)
    {
        tracing::error!(%error, %vm, "a VM's state was not written down");
    }
}

fn moved_message(plan: &Plan<'_>, subject: &Subject, info: &MigrationInfo) -> String {
    let base = format!(
        "{} moved from {} to {}",
        subject.name, plan.source, plan.destination
    );
    match info.receipt.as_ref() {
        Some(receipt) => {
            let blackout = receipt
                .blackout
                .map(|blackout| format!(", blackout {:.0} ms", blackout.ms))
                .unwrap_or_default();
            format!("{base} in {:.2} s{blackout}", receipt.total_ms() / 1e3)
        }
        None => base,
    }
}

fn keep(core: &Core, info: &MigrationInfo) -> Result<(), crate::store::StoreError> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    core.store.put_migration(info, now)
}
