//! Disks as QEMU sees them: state and counters.

use super::Monitor;
use crate::qmp::QmpError;
use godwit_model::units::Bytes;
use serde::Deserialize;
use serde_json::json;

/// Whether a device's requests succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IoStatus {
    /// As they should.
    Ok,
    /// The last one failed.
    Failed,
    /// The disk or its file system is full.
    #[serde(rename = "nospace")]
    NoSpace,
}

/// A block device of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// The device's name in the hardware contract: `vd0`, `seed1`, `cdrom0`.
    pub device: String,
    /// Its image file, if a medium is in it.
    pub file: Option<String>,
    /// Whether its requests succeed; `None` where QEMU does not track it.
    pub io_status: Option<IoStatus>,
}

/// Counters of one block device since this QEMU began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStats {
    /// The device's name in the hardware contract.
    pub device: String,
    /// Bytes the guest read.
    pub read: Bytes,
    /// Bytes the guest wrote.
    pub written: Bytes,
    /// Read requests.
    pub read_operations: u64,
    /// Write requests.
    pub write_operations: u64,
    /// Flush requests.
    pub flush_operations: u64,
}

#[derive(Deserialize)]
struct RawBlock {
    #[serde(default)]
    qdev: String,
    #[serde(rename = "io-status")]
    io_status: Option<IoStatus>,
    inserted: Option<RawInserted>,
}

#[derive(Deserialize)]
struct RawInserted {
    file: String,
}

#[derive(Deserialize)]
struct RawStats {
    #[serde(default)]
    qdev: String,
    stats: RawCounters,
}

#[derive(Deserialize)]
struct RawCounters {
    rd_bytes: u64,
    wr_bytes: u64,
    rd_operations: u64,
    wr_operations: u64,
    flush_operations: u64,
}

impl Monitor {
    /// The guest's block devices.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn block_devices(&self) -> Result<Vec<BlockDevice>, QmpError> {
        let raw: Vec<RawBlock> = self.qmp.query("query-block", json!({})).await?;
        let device = |block: RawBlock| BlockDevice {
            device: short_name(&block.qdev),
            file: block.inserted.map(|inserted| inserted.file),
            io_status: block.io_status,
        };
        Ok(raw.into_iter().map(device).collect())
    }

    /// Counters of the guest's block devices.
    ///
    /// # Errors
    /// As [`crate::qmp::Qmp::execute`].
    pub async fn block_stats(&self) -> Result<Vec<BlockStats>, QmpError> {
        let raw: Vec<RawStats> = self.qmp.query("query-blockstats", json!({})).await?;
        let stats = |RawStats { qdev, stats }: RawStats| BlockStats {
            device: short_name(&qdev),
            read: Bytes(stats.rd_bytes),
            written: Bytes(stats.wr_bytes),
            read_operations: stats.rd_operations,
            write_operations: stats.wr_operations,
            flush_operations: stats.flush_operations,
        };
        Ok(raw.into_iter().map(stats).collect())
    }
}

/// `/machine/peripheral/vd0/virtio-backend` is `vd0` in the contract.
fn short_name(qdev: &str) -> String {
    let below = qdev.strip_prefix("/machine/peripheral/").unwrap_or(qdev);
    below.split('/').next().unwrap_or(below).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_by_their_contract_names() {
        assert_eq!(short_name("/machine/peripheral/vd0/virtio-backend"), "vd0");
        assert_eq!(short_name("cdrom0"), "cdrom0");
    }
}
