//! Whether this host can run a VM: asked before anything is claimed, made or moved.

use crate::answer::{Answer, refused};
use crate::host::{Host, datastore, network};
use godwit_model::host::HostStats;
use godwit_model::units::Bytes;
use godwit_model::vm::VmDefinition;

/// Checks everything that a VM needs of its host; the first thing that is missing is named.
///
/// # Errors
/// Refused, with what is missing and how to get it.
pub fn check(host: &Host, definition: &VmDefinition) -> Answer<()> {
    definition
        .check()
        .map_err(|error| refused(error.to_string()))?;
    let id = &host.config.id;
    let hardware = &host.hardware;
    if !hardware.machines.contains(&definition.machine) {
        return Err(refused(format!(
            "host {id} does not offer machine type {}: its QEMU is {:?}; upgrade it",
            definition.machine, hardware.qemu.version
        )));
    }
    if !hardware.cpu_models.contains(&definition.cpu_model) {
        return Err(refused(format!(
            "host {id} does not offer CPU model {} ({} lacks flags of it): choose a farm baseline that all hosts offer",
            definition.cpu_model, hardware.accelerator
        )));
    }
    for nic in &definition.nics {
        network::bridge_of(&host.config, &nic.network)?;
    }
    for name in definition.datastores() {
        let path = datastore::path_of(&host.config, name)?;
        if !path.is_dir() {
            return Err(refused(format!(
                "datastore `{name}` of host {id} is not mounted at {}",
                path.display()
            )));
        }
    }
    memory(host, definition)
}

fn memory(host: &Host, definition: &VmDefinition) -> Answer<()> {
    let available = crate::host::facts::memory("MemAvailable:");
    let promised = promised(host);
    let reserve = host.config.memory_reserve;
    let free = available
        .0
        .saturating_sub(promised.0)
        .saturating_sub(reserve.0);
    if definition.memory.0 > free {
        return Err(refused(format!(
            "host {} has {} free for VMs (after {promised} promised to others and a reserve of {reserve}), VM {} needs {}: move other VMs away first",
            host.config.id,
            Bytes(free),
            definition.name,
            definition.memory
        )));
    }
    Ok(())
}

/// Memory that VMs here have been promised and have not touched yet.
fn promised(host: &Host) -> Bytes {
    let stats = host.stats.borrow().clone();
    let resident =
        |stats: &HostStats, vm| stats.vms.iter().find(|v| v.vm == vm).map(|v| v.resident);
    let with_process = host
        .board
        .vms()
        .into_iter()
        .filter(|view| view.state.has_process());
    let missing = with_process.map(|view| {
        let has = stats
            .as_ref()
            .and_then(|stats| resident(stats, view.definition.id));
        view.definition
            .memory
            .0
            .saturating_sub(has.unwrap_or_default().0)
    });
    Bytes(missing.sum())
}
