//! What can go wrong with a lease, told apart by what the caller may conclude from it.

use crate::{
    claim::{Claim, Pending},
    record::Record,
};
use godwit_model::{
    epoch::Epoch,
    ids::{HostId, VmId},
};
use std::{io, path::PathBuf};

/// The datastore did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: check that the datastore is mounted, writable and not full", path.display())]
pub struct StorageError {
    /// What was tried, in words.
    pub doing: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why an epoch was not won.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another attempt won this number. Final: this attempt can never win it.
    #[error(
        "epoch {} of VM {} belongs to host {}: look at that host for the VM",
        winner.epoch, winner.vm, winner.owner.host
    )]
    Lost {
        /// What stands in the file.
        winner: Box<Record>,
    },
    /// The claim was against the rules; nothing was written.
    #[error("the claim was refused")]
    Refused(#[from] Refusal),
    /// The storage failed before anything could be won. Certainly not won; may be tried again.
    #[error("the claim could not be made, nothing was won")]
    Unreachable(#[source] StorageError),
    /// The storage failed in a moment when the epoch may have been won, or may yet be.
    /// Run nothing, destroy nothing, and settle it as soon as the storage answers.
    #[error(
        "it is not known yet who won epoch {} of VM {}: the VM stays paused until the datastore answers",
        pending.epoch(), pending.vm()
    )]
    Unknown {
        /// To be given to [`Lease::settle`](crate::Lease::settle).
        pending: Box<Pending>,
        /// What the storage said.
        source: StorageError,
    },
}

/// A rule that a claim would have broken. All of them are final for this number and purpose,
/// except `NotReleased` and `Gap`, which may become true later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The number is not the next one, but too high.
    #[error(
        "epoch {epoch} cannot be claimed before epoch {missing} exists: read the newest epoch again"
    )]
    Gap {
        /// The number asked for.
        epoch: Epoch,
        /// The one that is missing.
        missing: Epoch,
    },
    /// Later epochs exist: the caller is late.
    #[error("epoch {epoch} is over, epoch {newest} exists: read the newest epoch again")]
    Passed {
        /// The number asked for.
        epoch: Epoch,
        /// The newest one.
        newest: Epoch,
    },
    /// A cold start while the QEMU of the epoch before may still run.
    #[error(
        "host {owner} has not released epoch {epoch}: stop the VM there, or have that host fenced"
    )]
    NotReleased {
        /// The epoch that is held.
        epoch: Epoch,
        /// By whom.
        owner: HostId,
    },
    /// The epoch before is not such that this purpose may follow it.
    #[error(
        "{purpose} cannot follow epoch {epoch} ({reason}): this is a stale or repeated command"
    )]
    OutOfTurn {
        /// The purpose in a word.
        purpose: &'static str,
        /// The epoch before.
        epoch: Epoch,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The VM is deleted.
    #[error("VM {vm} was deleted: clone or define a new one")]
    Deleted {
        /// The VM.
        vm: VmId,
    },
    /// The VM has no folder on the datastore.
    #[error("{} does not exist: create the VM first, or check that the right datastore is mounted", path.display())]
    NoHome {
        /// The folder that is missing.
        path: PathBuf,
    },
}

/// The release could not be written. It may be tried again: writing it twice does no harm.
#[derive(Debug, thiserror::Error)]
#[error("epoch {} of VM {} could not be released: try again when the datastore answers", claim.epoch(), claim.vm())]
pub struct ReleaseError {
    /// The claim, still held.
    pub claim: Box<Claim>,
    /// What the storage said.
    pub source: StorageError,
}

/// The VM could not be given back. It may be tried again with the same claim: doing it twice
/// does no harm, whether or not the first time counted.
#[derive(Debug, thiserror::Error)]
#[error("VM {} could not be given back: try again when the datastore answers", claim.vm())]
pub struct GiveBackError {
    /// The claim, still held.
    pub claim: Box<Claim>,
    /// Why.
    pub source: Box<ClaimError>,
}

/// A definition could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The storage failed.
    #[error("the definition is out of reach")]
    Storage(#[from] StorageError),
    /// It cannot be put into JSON.
    #[error("the definition cannot be written as JSON: this is a defect, report it")]
    Serialize(#[source] serde_json::Error),
    /// There is none, or none that can be read.
    #[error(
        "{} holds no readable definition{}: restore definition.<epoch>.json from a backup",
        dir.display(),
        if *unreadable > 0 { format!(" ({unreadable} unreadable)") } else { String::new() }
    )]
    None {
        /// The VM's folder.
        dir: PathBuf,
        /// How many were there but could not be read.
        unreadable: usize,
    },
}
