//! Migrations, as the two agents and the manager speak of them.

use godwit_model::epoch::Epoch;
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::ids::{HostId, MigrationId, VmId};
use godwit_model::migration::Outcome;
use godwit_model::migration::receipt::{CpuCost, PageBytes, Receipt};
use godwit_model::units::{Bytes, MonoNs};
use godwit_model::vm::VmDefinition;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::ToSchema;

/// Another host's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRef {
    /// Its id: its certificate must say the same.
    pub id: HostId,
    /// Its agent's address.
    pub address: SocketAddr,
}

/// The farm's key for hashes of pages: 64 hex digits. It is a secret, since a hash under a known key tells whether a
/// host has a page that somebody guesses.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageKey(pub String);

impl std::fmt::Debug for PageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not end up in a log.
        f.write_str("PageKey(..)")
    }
}

/// How a migration shall be done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationOptions {
    /// The pause that QEMU may plan for its last round, in milliseconds.
    pub downtime_limit_ms: u32,
    /// The pause that it may plan at most, if the VM writes its memory too fast for a shorter one, in milliseconds.
    #[serde(default = "most_downtime")]
    pub downtime_most_ms: u32,
    /// At most so many bytes per second; absent: no limit but the card's.
    pub max_bandwidth: Option<Bytes>,
    /// Seconds that memory may be sent before the migration is given up.
    pub precopy_limit_seconds: u32,
    /// Slow the guest down if it writes memory faster than it can be sent.
    pub auto_converge: bool,
}

fn most_downtime() -> u32 {
    300
}

impl Default for MigrationOptions {
    fn default() -> Self {
        Self {
            downtime_limit_ms: 30,
            downtime_most_ms: most_downtime(),
            max_bandwidth: None,
            precopy_limit_seconds: 600,
            auto_converge: true,
        }
    }
}

/// To the destination: be ready to receive a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingRequest {
    /// The protocol that the manager plans with.
    #[serde(default = "current_protocol")]
    pub protocol: u32,
    /// The migration.
    pub migration: MigrationId,
    /// The VM, as the source runs it.
    pub definition: VmDefinition,
    /// The epoch that decides this migration.
    pub epoch: Epoch,
    /// The only host that may connect.
    pub source: PeerRef,
    /// How.
    pub options: MigrationOptions,
    /// With it, pages that this host has are not sent.
    #[serde(default)]
    pub page_key: Option<PageKey>,
}

fn current_protocol() -> u32 {
    PROTOCOL_VERSION
}

/// From the destination: it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingReply {
    /// Where its relay listens.
    pub relay: SocketAddr,
}

/// To the source: move a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutgoingRequest {
    /// The migration.
    pub migration: MigrationId,
    /// The VM.
    pub vm: VmId,
    /// The epoch that decides this migration.
    pub epoch: Epoch,
    /// Where to.
    pub destination: PeerRef,
    /// Where its relay listens.
    pub relay: SocketAddr,
    /// How long the destination took to be ready, in milliseconds, for the receipt.
    pub prepare_ms: f64,
    /// How.
    pub options: MigrationOptions,
    /// With it, pages that the destination has are not sent.
    #[serde(default)]
    pub page_key: Option<PageKey>,
}

/// To the destination, from the source: give up. Obeyed before the claim is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortRequest {
    /// Why.
    pub reason: String,
}

/// Which half of a migration a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It has the VM.
    Source,
    /// It gets the VM.
    Destination,
}

/// Where a migration stands on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// QEMU and relays start, or wait for each other.
    Prepare,
    /// Memory is sent while the VM runs.
    Precopy,
    /// The VM is paused; the rest is sent.
    Blackout,
    /// The last frame is on its way or has arrived; the claim decides.
    Commit,
    /// The claim is won; the VM is told to run.
    Activate,
    /// The VM runs at the destination.
    Running,
    /// It could not run at the destination and was given back.
    GaveBack,
    /// The source runs the VM; the destination's copy is gone.
    Stayed,
    /// Paused at both ends, waiting for the storage or the other host.
    Held,
}

impl Phase {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Precopy => "precopy",
            Self::Blackout => "blackout",
            Self::Commit => "commit",
            Self::Activate => "activate",
            Self::Running => "running",
            Self::GaveBack => "gave_back",
            Self::Stayed => "stayed",
            Self::Held => "held",
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Running | Self::GaveBack | Self::Stayed)
    }
}

/// A migration, as one of its hosts sees it. Kept for at least ten minutes after its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationView {
    /// The migration.
    pub id: MigrationId,
    /// The VM.
    pub vm: VmId,
    /// This host's half.
    pub role: Role,
    /// Where it stands. A final phase is shown only after its effects were carried out.
    pub phase: Phase,
    /// What is waited for, or why it ended as it did.
    pub detail: String,
    /// Progress of the memory's transfer, at the source.
    pub progress: Progress,
    /// At the destination: when the VM ran, on its monotonic clock.
    pub resumed: Option<MonoNs>,
    /// At the destination: when it had everything (release arrived) and when it had won.
    pub loaded: Option<MonoNs>,
    /// When the claim was won.
    pub claimed: Option<MonoNs>,
    /// At the destination: CPU spent.
    pub cpu: CpuCost,
    /// The end, when there is one.
    pub outcome: Option<Outcome>,
    /// At the source, after the end.
    pub receipt: Option<Receipt>,
}

/// How far the memory's transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Memory of the VM.
    pub total: Bytes,
    /// Still to be sent, by QEMU's count.
    pub remaining: Bytes,
    /// QEMU's stream so far.
    pub stream_bytes: Bytes,
    /// Over the network so far.
    pub wire_bytes: Bytes,
    /// Passes over the memory.
    pub rounds: u64,
    /// Megabits per second now.
    pub mbit_per_second: f64,
    /// How the pages travelled so far.
    #[serde(default)]
    pub pages: PageBytes,
}
