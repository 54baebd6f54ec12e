//! What a migration cost: the receipt that each one ends with.

use super::Outcome;
use crate::epoch::Epoch;
use crate::ids::{HostId, MigrationId, VmId};
use crate::units::{Bytes, MonoNs};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What a migration cost, by phase and by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The migration.
    pub migration: MigrationId,
    /// The VM.
    pub vm: VmId,
    /// Its name then.
    pub vm_name: String,
    /// Where it was.
    pub source: HostId,
    /// Where it went.
    pub destination: HostId,
    /// The epoch that decided it.
    pub epoch: Epoch,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, by the source's wall clock.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// When it began, on the source's monotonic clock.
    pub began_mono: MonoNs,
    /// When the VM ran at the destination (or again at the source), on the source's
    /// monotonic clock.
    pub ended_mono: MonoNs,
    /// How long each phase took.
    pub phases: Phases,
    /// Bytes of QEMU's stream, before the relay reduced it.
    pub stream_bytes: Bytes,
    /// Bytes that the relay sent over the network, encryption's overhead left out.
    pub wire_bytes: Bytes,
    /// How the VM's pages travelled.
    #[serde(default)]
    pub pages: PageBytes,
    /// Passes over the VM's memory.
    pub rounds: u64,
    /// QEMU's own figure for the blackout, in milliseconds. It ends before the
    /// destination runs, so it is never given alone.
    pub qemu_downtime_ms: Option<u64>,
    /// From the source's STOP to the destination's RESUME.
    pub blackout: Option<Blackout>,
    /// The longest silence that the echo probe saw around this migration, in
    /// milliseconds; absent where no probe watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_blackout_ms: Option<f64>,
    /// CPU spent at the source.
    pub source_cpu: CpuCost,
    /// CPU spent at the destination.
    pub destination_cpu: CpuCost,
}

impl Receipt {
    /// From the beginning to the VM running at its place, in milliseconds.
    #[must_use]
    pub fn total_ms(&self) -> f64 {
        self.ended_mono.millis_since(self.began_mono)
    }
}

/// How the VM's pages travelled: bytes of its memory, a page counted as often as QEMU sent it. All zero where
/// everything was sent as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageBytes {
    /// Nothing but zeros: a mark was sent.
    pub zero: Bytes,
    /// In the destination's page store: a reference was sent.
    pub store: Bytes,
    /// A block of the VM's template: a reference was sent, the destination read the datastore.
    pub template: Bytes,
    /// Sent compressed.
    pub compressed: Bytes,
    /// Sent as they are.
    pub raw: Bytes,
}

impl PageBytes {
    /// Each kind with its name, in the order of their cost.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, Bytes); 5] {
        [
            ("zero", self.zero),
            ("store", self.store),
            ("template", self.template),
            ("compressed", self.compressed),
            ("raw", self.raw),
        ]
    }
}

/// Durations of the phases, in milliseconds. Zero: not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Phases {
    /// Starting the destination's QEMU and both relays.
    pub prepare_ms: f64,
    /// Memory was sent while the VM ran.
    pub precopy_ms: f64,
    /// No copy ran.
    pub blackout_ms: f64,
    /// Within the blackout: from the release to the won claim.
    pub commit_ms: f64,
    /// Within the blackout: from the won claim to RESUME.
    pub activate_ms: f64,
    /// Ending the source's QEMU and the relays.
    pub cleanup_ms: f64,
}

/// The time in which no copy ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Blackout {
    /// Milliseconds from STOP to RESUME.
    pub ms: f64,
    /// At most this wrong, in milliseconds: 0 where both hosts run on one clock, else half
    /// the round trip by which the clocks' offset was measured.
    pub error_ms: f64,
}

/// CPU seconds that a migration cost one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CpuCost {
    /// The relay's process.
    pub relay_seconds: f64,
    /// QEMU outside its vCPU threads.
    pub qemu_seconds: f64,
}
