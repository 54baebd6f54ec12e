//! The host daemon: carries out what the manager asks of a host, and gates every start of a VM
//! by the lease.
//!
//! ```text
//!  http ──► vm::Registry ──► one actor a VM (vm::actor) ──► lease, keeper (processes), QEMU
//!    │                          └ owned by a migration while it moves (migration::{source,destination})
//!    └────► board ◄── what actors show
//! ```
//! Read `vm/actor.rs` first, then `migration/source/mod.rs`.
//!
//! Invariants
//! - Nothing makes a guest run but code that holds a won claim (or has not yet released it).
//! - An epoch is released only when the keeper says that the process is gone.
//! - Nobody but a VM's actor talks to its QEMU about its state.
//! - The agent's death disturbs no VM; its next life finds everything in the keeper's list, the
//!   records and the epoch files ([`vm::adopt`]).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod answer;
pub mod board;
pub mod config;
pub mod host;
mod http;
pub mod identity;
pub mod join;
pub mod migration;
pub mod pages;
pub mod processes;
pub mod record;
pub mod run;
pub mod stats;
pub mod templates;
pub mod timings;
mod urgent;
pub mod vm;

pub use config::AgentConfig;
pub use join::{Join, JoinError, join};
pub use run::{RunError, run};

#[cfg(test)]
mod testing;
