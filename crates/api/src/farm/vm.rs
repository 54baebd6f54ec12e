//! VMs, templates and migrations of the farm.

use crate::agent::{MigrationOptions, Phase, Progress, TemplateFile};
use godwit_model::epoch::Epoch;
use godwit_model::host::VmStats;
use godwit_model::ids::{HostId, MigrationId, TaskId, VmId};
use godwit_model::migration::Outcome;
use godwit_model::migration::receipt::Receipt;
use godwit_model::units::Bytes;
use godwit_model::vm::{VmDefinition, VmState};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use utoipa::ToSchema;

/// A VM as the manager knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmInfo {
    /// What it is.
    pub definition: VmDefinition,
    /// The host that has it.
    pub host: HostId,
    /// What it does; absent while its host does not answer.
    pub state: Option<VmState>,
    /// The epoch under which it runs.
    pub epoch: Option<Epoch>,
    /// What an operator should know.
    pub problem: Option<String>,
    /// The migration that it takes part in.
    pub migration: Option<MigrationId>,
    /// Its newest figures.
    pub stats: Option<VmStats>,
    /// The task that holds it now, if any.
    pub task: Option<TaskId>,
}

/// A new VM with an empty or imported disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateVm {
    /// Its name.
    pub name: String,
    /// The host; absent: the manager chooses.
    pub host: Option<HostId>,
    /// The datastore of its files; absent: the one with the most room.
    pub datastore: Option<String>,
    /// Memory.
    pub memory: Bytes,
    /// vCPUs.
    pub vcpus: u32,
    /// Size of its disk.
    pub disk: Bytes,
    /// A disk image to start from: a path on the host (qcow2, raw, vmdk).
    pub import: Option<String>,
    /// An installation ISO to boot from: a path inside the datastore.
    pub iso: Option<String>,
    /// Networks, one card each; empty: no card.
    pub networks: Vec<String>,
    /// Start it when it is made.
    pub power_on: bool,
}

/// A clone of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloneVm {
    /// The template's name.
    pub template: String,
    /// The clone's name; also its host name.
    pub name: String,
    /// The host; absent: the manager chooses.
    pub host: Option<HostId>,
    /// The datastore; absent: the template's.
    pub datastore: Option<String>,
    /// Memory; absent: the template's.
    pub memory: Option<Bytes>,
    /// vCPUs; absent: the template's.
    pub vcpus: Option<u32>,
    /// Linked: an overlay, made at once. Full: a copy.
    #[serde(default)]
    pub full: bool,
    /// Its network; absent: the only one there is.
    pub network: Option<String>,
    /// Who it is, applied at its first boot; absent: host name only, address by DHCP.
    pub customization: Option<Customization>,
    /// Start it when it is made.
    pub power_on: bool,
}

/// Who a clone is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Customization {
    /// Address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// Length of the network's prefix (24 for 255.255.255.0).
    pub prefix: u8,
    /// Gateway.
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<Ipv4Addr>,
}

/// What to do with a VM's power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Power {
    /// Start it.
    On,
    /// Ask the guest to power off; kill it when it has not within the time.
    Off {
        /// Seconds that the guest has.
        #[serde(default = "default_grace")]
        grace_seconds: u32,
    },
    /// End it at once.
    Kill,
    /// Stop its CPUs.
    Pause,
    /// Let them run again.
    Resume,
}

fn default_grace() -> u32 {
    60
}

/// What is kept of a VM beside what it is. A key that is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeVm {
    /// The application that it is a part of; empty: none.
    pub application: Option<String>,
}

/// Move a running VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Migrate {
    /// Where to.
    pub to: HostId,
    /// How.
    #[serde(default)]
    pub options: MigrationOptions,
}

/// A template of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateInfo {
    /// What it is.
    pub template: TemplateFile,
    /// The datastore it lies on.
    pub datastore: String,
    /// Linked clones that need it.
    pub clones: usize,
}

/// Make a template from a disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateTemplate {
    /// Its name.
    pub name: String,
    /// The image: a path on the host.
    pub image: String,
    /// The host that reads the image; absent: any that is up.
    pub host: Option<HostId>,
    /// The datastore; absent: the one with the most room.
    pub datastore: Option<String>,
    /// Memory of clones.
    pub memory: Bytes,
    /// vCPUs of clones.
    pub vcpus: u32,
    /// Free text.
    #[serde(default)]
    pub notes: String,
}

/// A migration as the manager knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationInfo {
    /// Its id.
    pub id: MigrationId,
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub vm_name: String,
    /// From.
    pub source: HostId,
    /// To.
    pub destination: HostId,
    /// The task that does it.
    pub task: TaskId,
    /// Where it stands.
    pub phase: Phase,
    /// What is waited for, or why it ended as it did.
    pub detail: String,
    /// Progress of the memory's transfer.
    pub progress: Progress,
    /// The end, when there is one.
    pub outcome: Option<Outcome>,
    /// What it cost, after the end.
    pub receipt: Option<Receipt>,
}

/// What an echo probe saw of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EchoReport {
    /// The longest silence, in milliseconds.
    pub blackout_ms: f64,
}
