//! Two real agents, real QEMU, a real guest: what a host promises.

// Tests fail by panicking, helpers of tests too.
#![allow(clippy::unwrap_used)]

#[path = "agent/farm.rs"]
mod farm;
#[path = "agent/host.rs"]
mod host;
#[path = "agent/killed.rs"]
mod killed;
#[path = "agent/life.rs"]
mod life;
#[path = "agent/measure.rs"]
mod measure;
#[path = "agent/moves.rs"]
mod moves;
#[path = "agent/surroundings.rs"]
mod surroundings;

use godwit_api::agent::MigrationOptions;
use godwit_model::units::Bytes;
use tokio::sync::Mutex;

/// One farm at a time: the machine is small.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// So slow that a migration is certainly caught in its precopy.
fn slow() -> MigrationOptions {
    MigrationOptions {
        max_bandwidth: Some(Bytes(30_000)),
        ..MigrationOptions::default()
    }
}
