//! What a host says of itself: facts that seldom change, and figures of every second.

use crate::ids::{HostId, VmId};
use crate::units::{Bytes, MonoNs};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// The version of the calls between agents, and between manager and agents. Two versions
/// that differ do not migrate to each other: refused before anything moves.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a host is and offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostFacts {
    /// Its id in the farm.
    pub id: HostId,
    /// Version of Godwit that its agent runs.
    pub godwit_version: String,
    /// [`PROTOCOL_VERSION`] of its agent.
    pub protocol: u32,
    /// Kernel boot id: hosts with the same one share a clock (the lab).
    pub boot_id: String,
    /// Cores given to this host (in the lab a blade's share of the machine).
    pub cores: u32,
    /// Memory of the host.
    pub memory: Bytes,
    /// QEMU's version.
    pub qemu_version: String,
    /// `kvm` or `tcg`, by the probe.
    pub accelerator: String,
    /// CPU models of the farm's candidates that run here without a missing flag.
    pub cpu_models: Vec<String>,
    /// Machine types that its QEMU offers, of those Godwit uses.
    pub machines: Vec<String>,
    /// Datastores it sees.
    pub datastores: Vec<DatastoreFacts>,
    /// Virtual switches it has.
    pub networks: Vec<String>,
    /// Its network cards.
    pub cards: Vec<Card>,
    /// Where relays listen for migrations to this host.
    #[schema(value_type = String)]
    pub migration_address: IpAddr,
}

/// A datastore as one host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatastoreFacts {
    /// Its name, the same on all hosts.
    pub name: String,
    /// Where it is mounted on this host.
    pub path: String,
    /// An id written into the datastore, by which hosts know that it is the same.
    pub uuid: String,
    /// Size.
    pub total: Bytes,
    /// Room left.
    pub free: Bytes,
    /// Whether it answered the last look; if not, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A network card and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Card {
    /// Interface name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<CardRole>,
    /// Rate in Mbit/s that is shared out by classes, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mbit: Option<u32>,
}

/// What a card is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CardRole {
    /// Manager, agents, people.
    Management,
    /// What VMs send and receive.
    Vm,
    /// Memory of VMs on the move.
    Migration,
}

/// A host's figures of one moment. Counters only grow while the agent's host is up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostStats {
    /// When, on the host's monotonic clock.
    pub at: MonoNs,
    /// CPU seconds used by everything that runs on this host's share, ever.
    pub cpu_seconds: f64,
    /// Use of the host's cores since the figure before, in percent of its share.
    pub cpu_percent: f64,
    /// Memory in use.
    pub memory_used: Bytes,
    /// Bytes through each card.
    pub cards: Vec<CardStats>,
    /// Figures of each VM that has a process.
    pub vms: Vec<VmStats>,
}

/// Bytes through one card, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardStats {
    /// Interface name.
    pub name: String,
    /// Received.
    pub rx: Bytes,
    /// Sent.
    pub tx: Bytes,
}

/// A VM's figures of one moment; counters since its QEMU started on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmStats {
    /// The VM.
    pub vm: VmId,
    /// CPU seconds of its vCPU threads.
    pub vcpu_seconds: f64,
    /// CPU seconds of QEMU's other threads.
    pub other_seconds: f64,
    /// Memory resident.
    pub resident: Bytes,
    /// Read from its disks.
    pub disk_read: Bytes,
    /// Written to its disks.
    pub disk_written: Bytes,
    /// Received by the guest.
    pub net_rx: Bytes,
    /// Sent by the guest.
    pub net_tx: Bytes,
}
