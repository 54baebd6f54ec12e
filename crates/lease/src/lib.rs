//! Who may run a VM.
//!
//! Two parts that together keep the rule "at most one running copy, ever":
//! the **lease** (epoch files on the VM's own datastore decide which host may run it) and the
//! **keeper** (one small process per host, parent of every QEMU, so that a QEMU can neither
//! outlive its host's supervision nor die with its agent).
//!
//! Everything here blocks on storage, and storage can hang: async code calls the [`Lease`] from
//! `spawn_blocking`. Only [`keeper::Client`] is async. Read `lease.rs` first.

mod claim;
mod datastore;
mod definition;
pub mod doctor;
mod error;
mod home;
pub mod keeper;
mod lease;
mod ofd;
mod owner;
mod record;
mod rules;

pub use claim::{Claim, Pending};
pub use datastore::DatastoreLease;
pub use definition::{Definition, newest_definition, write_definition};
pub use error::{ClaimError, DefinitionError, GiveBackError, Refusal, ReleaseError, StorageError};
pub use home::VmHome;
pub use lease::Lease;
pub use owner::{BootId, Owner};
pub use record::{Ownership, Purpose, Record};
