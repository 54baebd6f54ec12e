//! Starting, stopping and pausing VMs.

use super::limits::hold_until_booted;
use super::{Done, Failure, Handle, host_up, vm_of};
use crate::core::Core;
use godwit_api::agent::PowerRequest;
use godwit_api::farm::Power;
use godwit_model::epoch::Epoch;
use godwit_model::ids::VmId;
use godwit_model::vm::VmState;
use std::sync::Arc;

/// Switches a VM's power.
pub(super) async fn run(
    core: &Arc<Core>,
    handle: &Handle,
    id: VmId,
    power: &Power,
    epoch: Epoch,
) -> Done {
    let request = match power {
        Power::On => {
            start(core, handle, id, epoch).await?;
            return Ok(None);
        }
        Power::Off { grace_seconds } => PowerRequest::Stop {
            grace_seconds: *grace_seconds,
        },
        Power::Kill => PowerRequest::Kill,
        Power::Pause => PowerRequest::Pause,
        Power::Resume => PowerRequest::Resume,
    };
    let (vm, _) = vm_of(core, id)?;
    let host = host_up(core, &vm.row.host)?;
    handle.progress(
        20,
        match power {
            Power::Off { .. } => "waits for the guest to power off",
            _ => "asks the host",
        },
    );
    let view = host.client.power(id, &request).await?;
    core.live.report_vm(&vm.row.host, view)?;
    Ok(None)
}

/// Starts a VM by winning `epoch`, when there is a place for one more boot on its host.
pub(super) async fn start(
    core: &Arc<Core>,
    handle: &Handle,
    id: VmId,
    epoch: Epoch,
) -> Result<(), Failure> {
    let (vm, _) = vm_of(core, id)?;
    let host = host_up(core, &vm.row.host)?;
    let cores = host.row.facts.as_ref().map_or(1, |facts| facts.cores);
    handle.progress(40, "waits for a place to boot");
    let place = tokio::select! {
        place = core.limits.start(&vm.row.host, cores) => place,
        () = handle.cancelled() => return Err(Failure::Cancelled),
    };
    handle.progress(60, "starts");
    let view = match host.client.power(id, &PowerRequest::Start { epoch }).await {
        Ok(view) => view,
        Err(error) => {
            // After a restart of the manager the start may have been done already.
            let view = host
                .client
                .vm(id)
                .await
                .ok()
                .filter(|view| view.state == VmState::Running && view.epoch == Some(epoch));
            view.ok_or(error)?
        }
    };
    core.live.report_vm(&vm.row.host, view)?;
    hold_until_booted(core, id, place);
    Ok(())
}
