//! Tasks: work that takes time. An [`Order`] says all that is needed to do it, and to go
//! on with it after the manager was restarted: ids and epochs are fixed when it is written
//! down, so that doing a step twice does it once.

mod board;
mod create;
mod limits;
mod migrate;
mod power;
mod template;

pub use board::{Handle, TaskBoard};
pub use limits::Limits;

use crate::core::{Core, vm_subject};
use crate::store::{StoreError, TaskRow};
use godwit_api::agent::{DiskSource, MigrationOptions, TemplateFile};
use godwit_api::farm::Power;
use godwit_api::http::CallError;
use godwit_model::epoch::Epoch;
use godwit_model::ids::{HostId, MigrationId, TaskId, VmId};
use godwit_model::seed::Seed;
use godwit_model::task::{Severity, Subject, Task, TaskState};
use godwit_model::vm::VmDefinition;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use time::OffsetDateTime;

/// What a task does.
#[allow(clippy::large_enum_variant)] // few exist at once
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Order {
    /// Make a VM: new, imported or cloned.
    Create {
        /// What it shall be.
        definition: VmDefinition,
        /// Where.
        host: HostId,
        /// Where its disks come from.
        disks: Vec<DiskSource>,
        /// Who it shall be.
        seed: Option<Seed>,
        /// Start it then.
        power_on: bool,
    },
    /// Delete a stopped VM.
    Delete {
        /// Which.
        vm: VmId,
    },
    /// Switch a VM's power.
    Power {
        /// Which.
        vm: VmId,
        /// How.
        power: Power,
        /// The epoch to win, for a start.
        epoch: Epoch,
    },
    /// Move a running VM.
    Migrate {
        /// Which.
        vm: VmId,
        /// This attempt.
        migration: MigrationId,
        /// The epoch that decides it.
        epoch: Epoch,
        /// From.
        source: HostId,
        /// To.
        destination: HostId,
        /// How.
        options: MigrationOptions,
    },
    /// Make a template of an image.
    CreateTemplate {
        /// What clones of it are like.
        template: TemplateFile,
        /// Where.
        datastore: String,
        /// The image, on the host.
        image: PathBuf,
        /// The host that reads it.
        host: HostId,
    },
    /// Remove a template.
    DeleteTemplate {
        /// Which.
        name: String,
        /// Where it lies.
        datastore: String,
        /// The host that removes it.
        host: HostId,
    },
}

impl Order {
    /// The name of this kind of work.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create { disks, .. } => match disks.first() {
                Some(DiskSource::Linked { .. } | DiskSource::Full { .. }) => "vm.clone",
                _ => "vm.create",
            },
            Self::Delete { .. } => "vm.delete",
            Self::Power { power, .. } => match power {
                Power::On => "vm.start",
                Power::Off { .. } => "vm.stop",
                Power::Kill => "vm.kill",
                Power::Pause => "vm.pause",
                Power::Resume => "vm.resume",
            },
            Self::Migrate { .. } => "vm.migrate",
            Self::CreateTemplate { .. } => "template.create",
            Self::DeleteTemplate { .. } => "template.delete",
        }
    }

    /// The VM that it holds while it is carried out.
    #[must_use]
    pub fn vm(&self) -> Option<VmId> {
        match self {
            Self::Create { definition, .. } => Some(definition.id),
            Self::Delete { vm } | Self::Power { vm, .. } | Self::Migrate { vm, .. } => Some(*vm),
            Self::CreateTemplate { .. } | Self::DeleteTemplate { .. } => None,
        }
    }
}

/// Why a task did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An operator ended it.
    #[error("cancelled")]
    Cancelled,
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// A host said no, or nothing.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a task brought forth: an id, if any.
type Done = Result<Option<String>, Failure>;

/// Writes a task down and starts it.
///
/// # Errors
/// Another task holds the VM (given as `Err(Ok(task))`), or the database fails.
pub fn submit(
    core: &Arc<Core>,
    order: Order,
    subject: Subject,
    by: &str,
) -> Result<Task, Result<TaskId, StoreError>> {
    let task = Task {
        id: TaskId::random(),
        kind: order.kind().to_owned(),
        subject,
        state: TaskState::Queued,
        percent: 0,
        step: "waits for its turn".to_owned(),
        error: None,
        result: None,
        by: by.to_owned(),
        queued: OffsetDateTime::now_utc(),
        started: None,
        ended: None,
    };
    if let Some(vm) = order.vm() {
        core.live.hold_vm(vm, task.id).map_err(Ok)?;
    }
    let row = TaskRow {
        task: task.clone(),
        order,
    };
    if let Err(error) = core.store.put_task(&row) {
        if let Some(vm) = row.order.vm() {
            core.live.release_vm(vm, task.id);
        }
        return Err(Err(error));
    }
    start(core, row);
    Ok(task)
}

/// Goes on with everything that had not ended when the manager did.
///
/// # Errors
/// The database fails.
pub fn resume(core: &Arc<Core>) -> Result<(), StoreError> {
    for row in core.store.open_tasks()? {
        tracing::info!(task = %row.task.id, kind = row.task.kind, "goes on after a restart");
        if let Some(vm) = row.order.vm()
            && core.live.hold_vm(vm, row.task.id).is_err()
        {
            continue; // cannot be: a VM is held by one task, also in the store
        }
        start(core, row);
    }
    core.store.trim_tasks()
}

fn start(core: &Arc<Core>, row: TaskRow) {
    let (handle, order) = (core.board.add(core, row.clone()), row.order);
    let core = core.clone();
    tokio::spawn(async move {
        let result = carry_out(&core, &handle, &order).await;
        settle(&core, &handle, &order, result);
    });
}

async fn carry_out(core: &Arc<Core>, handle: &Handle, order: &Order) -> Done {
    match order {
        Order::Create {
            definition,
            host,
            disks,
            seed,
            power_on,
        } => {
            let plan = create::Plan {
                definition,
                host,
                disks,
                seed: seed.as_ref(),
            };
            create::run(core, handle, &plan, *power_on).await
        }
        Order::Delete { vm } => create::delete(core, handle, *vm).await,
        Order::Power { vm, power, epoch } => power::run(core, handle, *vm, power, *epoch).await,
        Order::Migrate {
            vm,
            migration,
            epoch,
            source,
            destination,
            options,
        } => {
            let plan = migrate::Plan {
                vm: *vm,
                migration: *migration,
                epoch: *epoch,
                source,
                destination,
                options: *options,
            };
            migrate::run(core, handle, &plan).await
        }
        Order::CreateTemplate {
            template,
            datastore,
            image,
            host,
        } => template::create(core, handle, template, datastore, image, host).await,
        Order::DeleteTemplate {
            name,
            datastore,
            host,
        } => template::delete(core, handle, name, datastore, host).await,
    }
}

/// The task's end: written down, told, and the VM is free for the next.
fn settle(core: &Core, handle: &Handle, order: &Order, result: Done) {
    let (state, error, made) = match result {
        Ok(made) => (TaskState::Succeeded, None, made),
        Err(Failure::Cancelled) => (TaskState::Cancelled, None, None),
        Err(failure) => (TaskState::Failed, Some(chain(&failure)), None),
    };
    if let Some(vm) = order.vm() {
        core.live.release_vm(vm, handle.id());
    }
    let task = handle.end(state, error, made);
    core.board.remove(task.id);
    let (severity, what) = match &task.error {
        Some(error) => (Severity::Error, format!("failed: {error}")),
        None => (Severity::Info, task.state.to_string()),
    };
    let message = format!("{} of {} {what}", task.kind, task.subject.name);
    core.event(
        "task.ended",
        severity,
        task.subject.clone(),
        message,
        Some(task.id),
    );
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The host of a task, which must be known and answer.
fn host_up(core: &Core, id: &HostId) -> Result<crate::live::LiveHost, Failure> {
    core.live
        .host(id)
        .ok_or_else(|| Failure::Failed(format!("host {id} is no longer in the farm")))
}

/// The VM of a task, and its subject for events.
fn vm_of(core: &Core, id: VmId) -> Result<(crate::live::LiveVm, Subject), Failure> {
    let vm = core
        .live
        .vm(id)
        .ok_or_else(|| Failure::Failed(format!("VM {id} is no longer in the farm")))?;
    let subject = vm_subject(&vm.row.definition);
    Ok((vm, subject))
}
