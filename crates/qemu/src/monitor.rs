//! Typed operations on a running QEMU.
//!
//! Nothing here asks whether an operation is allowed: `cont`, above all, belongs to whoever holds
//! the claim on the VM's lease. `migrate_cancel` makes the source run again, so it too is bound
//! to the rule in the design: only before the release.

mod block;
mod migration;

pub use block::{BlockDevice, BlockStats, IoStatus};
pub use migration::{Announce, MigrationInfo, MigrationSettings, RamInfo};

use crate::qmp::{Event, GreetingVersion, Qmp, QmpError};
use serde::Deserialize;
use serde_json::json;
use std::{path::Path, time::Duration};
use tokio::sync::broadcast;

/// One QEMU's monitor. Cheap to clone; the last clone dropped frees the socket.
#[derive(Clone, Debug)]
pub struct Monitor {
    qmp: Qmp,
}

/// What the guest is doing, in QEMU's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Running.
    Running,
    /// Paused by `stop`.
    Paused,
    /// Started with `-S` and not continued yet.
    Prelaunch,
    /// Waiting for, or loading, a migration stream.
    Inmigrate,
    /// Paused by a migration whose last part is being sent.
    FinishMigrate,
    /// Paused: everything was sent. It must not run again without a claim.
    Postmigrate,
    /// Paused because a disk answered with an error.
    IoError,
    /// The guest asked for suspend to RAM.
    Suspended,
    /// The guest has powered off.
    Shutdown,
    /// QEMU itself met an error and cannot go on.
    InternalError,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// Memory is being saved (snapshot).
    SaveVm,
    /// Memory is being loaded (snapshot).
    RestoreVm,
    /// Any other.
    #[serde(other)]
    Other,
}

/// `query-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Status {
    /// Whether vCPUs run.
    pub running: bool,
    /// More precisely.
    #[serde(rename = "status")]
    pub state: RunState,
}

impl Monitor {
    /// Connects to a QEMU that runs, or was just started: waits up to `patience` for its socket.
    ///
    /// # Errors
    /// If there is no QMP behind the socket.
    pub async fn connect(socket: &Path, patience: Duration) -> Result<Self, QmpError> {
        Ok(Self {
            qmp: Qmp::connect_when_ready(socket, patience).await?,
        })
    }

    /// The typed face of a connection that exists already.
    #[must_use]
    pub fn over(qmp: Qmp) -> Self {
        Self { qmp }
    }

    /// The wire itself, for what has no typed operation.
    #[must_use]
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Events from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.qmp.events()
    }

    /// Waits until the connection is gone (QEMU has ended) and says what was seen.
    pub async fn closed(&self) -> String {
        self.qmp.closed().await
    }

    /// What the guest is doing.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; the same holds for all that follow.
    pub async fn status(&self) -> Result<Status, QmpError> {
        self.qmp.query("query-status", json!({})).await
    }

    /// Lets the vCPUs run. ONLY with a claim that was won. With late block activation the image
    /// locks are taken here, so this can be refused ("Failed to get write lock").
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn cont(&self) -> Result<(), QmpError> {
        self.command("cont").await
    }

    /// Pauses the vCPUs; disks are flushed before it returns.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.command("stop").await
    }

    /// Presses the power button; the guest decides what it does about it.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn system_powerdown(&self) -> Result<(), QmpError> {
        self.command("system_powerdown").await
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn system_reset(&self) -> Result<(), QmpError> {
        self.command("system_reset").await
    }

    /// Ends QEMU: disks are flushed, the guest is not asked. Success also if it was quicker to
    /// end than to answer.
    ///
    /// # Errors
    /// As [`Qmp::execute`], except that a closed connection is what was wanted.
    pub async fn quit(&self) -> Result<(), QmpError> {
        match self.command("quit").await {
            Err(error) if error.is_closed() => Ok(()),
            result => result,
        }
    }

    async fn command(&self, name: &str) -> Result<(), QmpError> {
        self.qmp.execute(name, json!({})).await.map(drop)
    }

    fn at_least(&self, major: u32, minor: u32) -> bool {
        self.qmp.version()
            >= GreetingVersion {
                major,
                minor,
                micro: 0,
            }
    }
}
