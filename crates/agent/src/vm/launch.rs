//! A QEMU process for a VM, paused: taps, folder, process, monitor, each undone when a later
//! one fails. Nothing here lets it run; that takes a claim.

use super::machine::{RunFiles, machine};
use crate::answer::{Answer, Tell, blocking, internal, tell};
use crate::host::{Host, network};
use crate::processes::Process;
use crate::timings;
use godwit_api::error::ErrorCode;
use godwit_lease::keeper::Spawn;
use godwit_model::vm::VmDefinition;
use godwit_qemu::monitor::Monitor;
use godwit_qemu::qmp::Event;
use std::sync::Arc;
use tokio::sync::broadcast;

/// A QEMU with its monitor.
pub struct Qemu {
    /// The process.
    pub process: Process,
    /// Its monitor.
    pub monitor: Monitor,
    /// What happens in it, from before anything was asked of it.
    pub events: broadcast::Receiver<Event>,
}

/// Starts a QEMU that waits for `cont`, or for a migration stream.
///
/// # Errors
/// What failed; nothing is left then.
pub async fn launch(host: &Arc<Host>, definition: &VmDefinition, incoming: bool) -> Answer<Qemu> {
    let arguments = match prepare(host, definition, incoming).await {
        Ok(arguments) => arguments,
        Err(error) => {
            clear(host, definition).await;
            return Err(error);
        }
    };
    let process = match spawn(host, definition, arguments).await {
        Ok(process) => process,
        Err(error) => {
            clear(host, definition).await;
            return Err(error);
        }
    };
    match connect(host, definition, &process).await {
        Ok(monitor) => Ok(Qemu {
            process,
            events: monitor.events(),
            monitor,
        }),
        Err(error) => {
            destroy(host, definition, &process).await?;
            Err(error)
        }
    }
}

/// Taps, folder, command line. Undone by [`clear`].
async fn prepare(
    host: &Arc<Host>,
    definition: &VmDefinition,
    incoming: bool,
) -> Answer<Vec<String>> {
    let (host, definition) = (Arc::clone(host), definition.clone());
    blocking(move || {
        let nics = network::make_taps(&host.config, &definition)?;
        RunFiles::new(&host.config.run_dir, definition.id)
            .prepare()
            .told(ErrorCode::Internal)?;
        let accelerator = host.hardware.accelerator;
        let machine = machine(&host.config, accelerator, &definition, nics, incoming)?;
        let arguments = machine.command_line().told(ErrorCode::Refused)?;
        let program = host.hardware.qemu.system.clone().into_os_string();
        let all = std::iter::once(program).chain(arguments);
        let text = all.map(std::ffi::OsString::into_string);
        text.collect::<Result<_, _>>()
            .map_err(|_| internal("a path in QEMU's command line is not UTF-8: rename it"))
    })
    .await
}

async fn spawn(host: &Host, definition: &VmDefinition, argv: Vec<String>) -> Answer<Process> {
    let spawn = Spawn {
        vm: definition.id,
        argv,
        log: RunFiles::new(&host.config.run_dir, definition.id).log(),
        affinity: host.config.cores.clone(),
        tag: definition.name.clone(),
    };
    host.processes.spawn(spawn).await.told(ErrorCode::Internal)
}

async fn connect(host: &Host, definition: &VmDefinition, process: &Process) -> Answer<Monitor> {
    let files = RunFiles::new(&host.config.run_dir, definition.id);
    let socket = files.qmp();
    tokio::select! {
        connected = Monitor::connect(&socket, timings::QEMU_STARTS) => {
            connected.map_err(|error| tell(ErrorCode::Internal, &error))
        }
        how = process.gone() => Err(tell(ErrorCode::Internal, &DidNotStart {
            how,
            words: files.last_words(),
        })),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("QEMU did not start: {how}; it said: {words}")]
struct DidNotStart {
    how: String,
    words: String,
}

/// Ends a QEMU for good and clears up after it; undoes [`launch`].
///
/// # Errors
/// If the process does not go. Then nothing may be concluded, and nothing was cleared.
pub async fn destroy(host: &Arc<Host>, definition: &VmDefinition, process: &Process) -> Answer<()> {
    process.kill().await.told(ErrorCode::Unavailable)?;
    clear(host, definition).await;
    Ok(())
}

/// Removes what a QEMU that is gone has left: taps and sockets.
pub async fn clear(host: &Arc<Host>, definition: &VmDefinition) {
    let (host, definition) = (Arc::clone(host), definition.clone());
    let clear = move || {
        network::remove_taps(&definition);
        RunFiles::new(&host.config.run_dir, definition.id).remove();
        Ok(())
    };
    // It gives no error of its own; a panic in it is logged by the runtime.
    let _ = blocking(clear).await;
}
