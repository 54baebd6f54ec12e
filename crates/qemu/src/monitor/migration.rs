//! QEMU's side of a live migration.
//!
//! `return-path` is always off: with it, a source whose connection breaks after the destination
//! runs resumes by itself, and then two copies run. `late-block-activate` at the destination
//! leaves the image locks free until `cont` (QEMU 10.0 does so in any case, 7.2 only when told).
//! `validate-uuid` at both ends makes QEMU refuse the stream of another VM.

use super::Monitor;
use crate::qmp::{QmpError, StreamState};
use godwit_model::units::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// What the source may do to converge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationSettings {
    /// Bytes per second into the local socket at most; zero is no limit, for when a relay sets
    /// the pace.
    pub max_bandwidth: Bytes,
    /// The blackout that QEMU may plan for: memory and devices, by its own estimate. QEMU's
    /// default of 300 ms cost 252 ms of real blackout where 30 ms cost 47, in the same time.
    pub downtime_limit: Duration,
    /// The bandwidth QEMU is to assume for the last part, in bytes per second. QEMU measures only
    /// its own socket, so behind a relay its estimate is wrong. Needs QEMU 8.2, ignored before.
    pub switchover_bandwidth: Option<Bytes>,
    /// Whether the guest's vCPUs may be slowed down when its memory changes too fast.
    pub auto_converge: bool,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self {
            max_bandwidth: Bytes(0),
            downtime_limit: Duration::from_millis(30),
            switchover_bandwidth: None,
            auto_converge: false,
        }
    }
}

/// How a new host announces the guest's MAC addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Wait before the second announcement (the first goes out at once).
    pub initial: Duration,
    /// Longest wait between two.
    pub max: Duration,
    /// How many announcements.
    pub rounds: u32,
    /// By how much the wait grows each time.
    pub step: Duration,
}

impl Default for Announce {
    /// QEMU's own values: five within 1.1 s, so that one lost frame does not cost the network.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(50),
            max: Duration::from_millis(550),
            rounds: 5,
            step: Duration::from_millis(100),
        }
    }
}

/// `query-migrate`. Figures are QEMU's own; its downtime has been seen to say 9 ms where 427
/// were real, so never show it alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationInfo {
    /// The state.
    pub status: StreamState,
    /// Milliseconds since the start, or in all.
    pub total_ms: Option<u64>,
    /// Milliseconds of blackout as QEMU counts it (known at the end).
    pub downtime_ms: Option<u64>,
    /// Milliseconds of blackout that QEMU expects if it switched over now.
    pub expected_downtime_ms: Option<u64>,
    /// Milliseconds of set-up.
    pub setup_ms: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// Memory; only at the source.
    pub ram: Option<RamInfo>,
}

/// Memory figures of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
pub struct RamInfo {
    /// Bytes sent so far.
    pub transferred: Bytes,
    /// Bytes still to send in this pass.
    pub remaining: Bytes,
    /// Bytes of guest memory.
    pub total: Bytes,
    /// Pages of zeroes.
    pub duplicate: u64,
    /// Pages sent whole.
    pub normal: u64,
    /// Passes over the memory.
    pub dirty_sync_count: u64,
    /// Pages the guest changes per second.
    #[serde(default)]
    pub dirty_pages_rate: u64,
    /// Megabits per second at QEMU's socket.
    pub mbps: f64,
    /// Bytes sent while the guest ran.
    #[serde(default)]
    pub precopy_bytes: Bytes,
    /// Bytes sent while it was paused.
    #[serde(default)]
    pub downtime_bytes: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawInfo {
    status: Option<StreamState>,
    total_time: Option<u64>,
    downtime: Option<u64>,
    expected_downtime: Option<u64>,
    setup_time: Option<u64>,
    error_desc: Option<String>,
    ram: Option<RamInfo>,
}

impl Monitor {
    /// Prepares this QEMU as a source.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn prepare_outgoing(&self, settings: &MigrationSettings) -> Result<(), QmpError> {
        let auto_converge = settings.auto_converge;
        self.capabilities(&[
            ("auto-converge", auto_converge),
            ("late-block-activate", false),
        ])
        .await?;
        let mut parameters = json!({
            "max-bandwidth": settings.max_bandwidth,
            "downtime-limit": millis(settings.downtime_limit),
        });
        if self.at_least(8, 2) {
            let bandwidth = settings.switchover_bandwidth.unwrap_or(Bytes(0));
            parameters["avail-switchover-bandwidth"] = json!(bandwidth);
        }
        self.set_parameters(parameters).await
    }

    /// Prepares this QEMU as a destination.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn prepare_incoming(&self) -> Result<(), QmpError> {
        self.capabilities(&[("auto-converge", false), ("late-block-activate", true)])
            .await
    }

    /// Starts sending to whoever listens on the unix socket. Returns when it has begun.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn migrate(&self, socket: &Path) -> Result<(), QmpError> {
        self.qmp
            .execute("migrate", json!({"uri": uri(socket)}))
            .await
            .map(drop)
    }

    /// Listens on the unix socket for a stream. From QEMU 9.1 a stream that cannot be loaded
    /// leaves QEMU alive in state `failed` with the reason; before, QEMU ends.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn migrate_incoming(&self, socket: &Path) -> Result<(), QmpError> {
        let mut arguments = json!({"uri": uri(socket)});
        if self.at_least(9, 1) {
            arguments["exit-on-error"] = json!(false);
        }
        self.qmp
            .execute("migrate-incoming", arguments)
            .await
            .map(drop)
    }

    /// Gives up sending; THE GUEST RUNS AGAIN. Only before the release (see the design). Returns
    /// at once; the end is a `Migration(Cancelled)` event.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn migrate_cancel(&self) -> Result<(), QmpError> {
        self.command("migrate_cancel").await
    }

    /// How the migration stands.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn query_migrate(&self) -> Result<MigrationInfo, QmpError> {
        let raw: RawInfo = self.qmp.query("query-migrate", json!({})).await?;
        Ok(MigrationInfo {
            status: raw.status.unwrap_or(StreamState::None),
            total_ms: raw.total_time,
            downtime_ms: raw.downtime,
            expected_downtime_ms: raw.expected_downtime,
            setup_ms: raw.setup_time,
            error: raw.error_desc,
            ram: raw.ram,
        })
    }

    /// Tells the network that the guest's MAC addresses are here now. Call it right after `cont`.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn announce_self(&self, announce: Announce) -> Result<(), QmpError> {
        let arguments = json!({
            "initial": millis(announce.initial), "max": millis(announce.max),
            "rounds": announce.rounds, "step": millis(announce.step),
        });
        self.qmp.execute("announce-self", arguments).await.map(drop)
    }

    /// Changes the limits of a migration, also while it runs (to end one that does not converge).
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn set_downtime_limit(&self, limit: Duration) -> Result<(), QmpError> {
        self.set_parameters(json!({"downtime-limit": millis(limit)}))
            .await
    }

    async fn set_parameters(&self, parameters: Value) -> Result<(), QmpError> {
        self.qmp
            .execute("migrate-set-parameters", parameters)
            .await
            .map(drop)
    }

    /// What is the same at both ends, and what differs.
    async fn capabilities(&self, differing: &[(&str, bool)]) -> Result<(), QmpError> {
        let common = [
            ("events", true),
            ("return-path", false),
            ("validate-uuid", true),
        ];
        let list: Vec<_> = common
            .iter()
            .chain(differing)
            .map(|(name, on)| json!({"capability": name, "state": on}))
            .collect();
        let arguments = json!({"capabilities": list});
        self.qmp
            .execute("migrate-set-capabilities", arguments)
            .await
            .map(drop)
    }
}

fn uri(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_both_versions_is_read() {
        let answer = json!({"status": "completed", "setup-time": 1, "downtime": 9,
            "total-time": 2000, "ram": {"total": 554_508_288_u64, "postcopy-requests": 0,
            "dirty-sync-count": 3, "multifd-bytes": 0, "pages-per-second": 9,
            "downtime-bytes": 5, "page-size": 4096, "remaining": 0, "postcopy-bytes": 0,
            "mbps": 812.5, "transferred": 221_000_000, "dirty-sync-missed-zero-copy": 0,
            "precopy-bytes": 7, "duplicate": 36_000, "dirty-pages-rate": 0, "skipped": 0,
            "normal-bytes": 1, "normal": 53_000}});
        let raw: RawInfo = serde_json::from_value(answer).unwrap();
        let ram = raw.ram.unwrap();
        assert_eq!(raw.downtime, Some(9));
        assert_eq!(
            (ram.normal, ram.dirty_sync_count, ram.downtime_bytes),
            (53_000, 3, Bytes(5))
        );
        let before: RawInfo = serde_json::from_value(json!({})).unwrap();
        assert_eq!(before.status, None);
    }
}
