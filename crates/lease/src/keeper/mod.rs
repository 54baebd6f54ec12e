//! The keeper: one small process per host that is the parent of every QEMU.
//!
//! ```text
//!  init ── agent          may die and come back at any time; talks to the keeper over
//!    │                    <run dir>/keeper.sock (JSON lines, see `protocol.rs`)
//!    └──── keeper ─┬─ QEMU    own process group, output to its log; dies with the keeper
//!                  └─ QEMU    (PR_SET_PDEATHSIG), so "the keeper is dead" means "the VMs are"
//! ```
//! [`serve`] is the keeper itself: one thread, `poll`, no runtime, little that can fail.
//! [`Client`] is how the agent talks to it. Why it exists: `docs/decisions/keeper.md`.

mod children;
mod client;
mod connection;
mod exits;
mod launch;
mod process_lock;
mod protocol;
mod serve;
mod setup;

pub use client::{Client, ClientError};
pub use exits::{Exits, KeeperEvent};
pub use process_lock::vm_process_gone;
pub use protocol::{
    Exit, ExitStatus, KillSignal, LONGEST_LINE, PROTOCOL_VERSION, RefusalCode, Refused, Running,
    Seen, Spawn,
};
pub use serve::serve;
pub use setup::ServeError;

use std::path::{Path, PathBuf};

/// The keeper's socket in its run directory.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("keeper.sock")
}

/// Where a keeper that was started by a [`Client`] writes its log.
#[must_use]
pub fn log_path(run_dir: &Path) -> PathBuf {
    run_dir.join("keeper.log")
}
