//! VMs and templates, as an agent sees and makes them.

use godwit_model::epoch::Epoch;
use godwit_model::ids::{MigrationId, VmId};
use godwit_model::seed::Seed;
use godwit_model::units::MonoNs;
use godwit_model::vm::{VmDefinition, VmState};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A VM on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmView {
    /// What it is.
    pub definition: VmDefinition,
    /// What it does.
    pub state: VmState,
    /// The epoch under which its QEMU runs here, if it runs.
    pub epoch: Option<Epoch>,
    /// The newest epoch in the VM's directory as this host last read it, whoever holds it;
    /// absent: never started. The next start or migration asks for the one after it.
    pub newest_epoch: Option<Epoch>,
    /// QEMU's process id as this host counts, if it runs.
    pub pid: Option<u32>,
    /// The migration that it takes part in, if any.
    pub migration: Option<MigrationId>,
    /// What an operator should know (an I/O error, why it is held).
    pub problem: Option<String>,
    /// Serial console, VNC: local sockets on the host.
    pub sockets: VmSockets,
}

/// Local sockets of a VM on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSockets {
    /// Serial console.
    pub serial: Option<PathBuf>,
    /// VNC display.
    pub vnc: Option<PathBuf>,
}

/// Makes a VM on this host: its directory on the datastore, its disks, its first definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DefineRequest {
    /// What it is. Paths of disks and media are where they will lie.
    pub definition: VmDefinition,
    /// Where each disk comes from, in the order of the definition's disks.
    pub disks: Vec<DiskSource>,
    /// The seed to write as the VM's first medium, if it is customized.
    pub seed: Option<Seed>,
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum DiskSource {
    /// A new empty disk of the definition's size.
    Empty,
    /// An overlay over a template's disk.
    Linked {
        /// The template's datastore.
        datastore: String,
        /// The template's name.
        template: String,
    },
    /// A copy of a template's disk.
    Full {
        /// The template's datastore.
        datastore: String,
        /// The template's name.
        template: String,
    },
    /// A file that this host sees: converted into the datastore.
    Import {
        /// Its path on the host.
        path: PathBuf,
    },
}

/// What to do with a VM's power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum PowerRequest {
    /// Start it, by winning this epoch.
    Start {
        /// The number to win: fixed by the caller.
        epoch: Epoch,
    },
    /// Ask the guest to power off; kill it when it has not within the time.
    Stop {
        /// Seconds that the guest has.
        grace_seconds: u32,
    },
    /// End it at once, as if the power failed.
    Kill,
    /// Stop its CPUs.
    Pause,
    /// Let them run again.
    Resume,
}

/// Copies a disk image into a datastore as a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRequest {
    /// The datastore.
    pub datastore: String,
    /// The image: a path on this host (qcow2, raw, vmdk).
    pub image: PathBuf,
    /// What clones of it are like.
    pub template: TemplateFile,
    /// With it, the template's pages are indexed, so that migrations of its clones need not send them.
    #[serde(default)]
    pub page_key: Option<super::PageKey>,
}

/// `template.json` in a template's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TemplateFile {
    /// Its id.
    pub id: godwit_model::ids::TemplateId,
    /// Its name.
    pub name: String,
    /// Memory of clones, unless asked otherwise.
    pub memory: godwit_model::units::Bytes,
    /// vCPUs of clones, unless asked otherwise.
    pub vcpus: u32,
    /// Virtual size of its disk.
    pub disk_size: godwit_model::units::Bytes,
    /// Free text.
    pub notes: String,
}

/// VM and migration changes since a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Ask again with this number. Smaller than the number asked with: the agent was
    /// restarted, and everything is given.
    pub next: u64,
    /// The VMs that changed, whole.
    pub vms: Vec<VmView>,
    /// VMs that are no longer on this host.
    pub gone: Vec<VmId>,
    /// What happened, in order.
    pub happened: Vec<AgentEvent>,
}

/// Something that happened on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// When, on the host's monotonic clock.
    pub at: MonoNs,
    /// `vm.started`, `vm.stopped`, `vm.crashed`, `vm.io_error`, `agent.started`, …
    pub kind: String,
    /// The VM, if it is about one.
    pub vm: Option<VmId>,
    /// A sentence for people.
    pub message: String,
}
