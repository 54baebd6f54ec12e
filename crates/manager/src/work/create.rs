//! Making and deleting VMs.

use super::power::start;
use super::{Done, Failure, Handle, host_up, vm_of};
use crate::core::{Core, vm_subject};
use godwit_api::agent::{DefineRequest, DiskSource};
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::ids::{HostId, VmId};
use godwit_model::seed::Seed;
use godwit_model::task::Severity;
use godwit_model::vm::VmDefinition;
use std::sync::Arc;

/// What is made.
pub(super) struct Plan<'a> {
    pub definition: &'a VmDefinition,
    pub host: &'a HostId,
    pub disks: &'a [DiskSource],
    pub seed: Option<&'a Seed>,
}

/// Makes a VM, and starts it if wished. What fails leaves nothing behind.
pub(super) async fn run(
    core: &Arc<Core>,
    handle: &Handle,
    plan: &Plan<'_>,
    power_on: bool,
) -> Done {
    let id = plan.definition.id;
    let result = make(core, handle, plan, power_on).await;
    if let Err(failure) = &result {
        tracing::info!(vm = %id, %failure, "a VM could not be made: what was made is removed");
        undo(core, plan.host, id).await?;
    }
    result
}

async fn make(core: &Arc<Core>, handle: &Handle, plan: &Plan<'_>, power_on: bool) -> Done {
    let definition = plan.definition;
    let host = host_up(core, plan.host)?;
    handle.progress(10, format!("makes its disks on {}", definition.datastore));
    let request = DefineRequest {
        definition: definition.clone(),
        disks: plan.disks.to_vec(),
        seed: plan.seed.cloned(),
    };
    let view = tokio::select! {
        view = host.client.define(&request) => view?,
        () = handle.cancelled() => return Err(Failure::Cancelled),
    };
    core.live.update_vm(definition.id, |row| row.made = true)?;
    core.live.report_vm(plan.host, view)?;
    let message = format!("{} was made on {}", definition.name, plan.host);
    core.event(
        "vm.created",
        Severity::Info,
        vm_subject(definition),
        message,
        Some(handle.id()),
    );
    if power_on {
        start(core, handle, definition.id, Epoch::FIRST).await?;
    }
    Ok(Some(definition.id.to_string()))
}

/// Removes what a failed task made. An agent that does not answer keeps the files until it
/// is asked again; the name is free at once.
async fn undo(core: &Core, host: &HostId, id: VmId) -> Result<(), Failure> {
    if let Some(host) = core.live.host(host)
        && let Err(error) = host.client.delete(id).await
        && error.code() != Some(ErrorCode::NotFound)
    {
        tracing::warn!(vm = %id, %error, "the files of a VM that was not made may be left");
    }
    core.live.remove_vm(id)?;
    Ok(())
}

/// Deletes a stopped VM.
pub(super) async fn delete(core: &Core, handle: &Handle, id: VmId) -> Done {
    let Ok((vm, subject)) = vm_of(core, id) else {
        return Ok(None); // done before a restart
    };
    let host = host_up(core, &vm.row.host)?;
    handle.progress(20, "removes its files");
    match host.client.delete(id).await {
        Err(error) if error.code() != Some(ErrorCode::NotFound) => return Err(error.into()),
        _ => {}
    }
    core.live.remove_vm(id)?;
    let message = format!("{} was deleted", subject.name);
    core.event(
        "vm.deleted",
        Severity::Info,
        subject,
        message,
        Some(handle.id()),
    );
    Ok(None)
}
