//! What stands in an epoch file, and what a reader may conclude from it (never a right to run).

use crate::owner::Owner;
use godwit_model::{
    epoch::Epoch,
    ids::{HostId, MigrationId, VmId},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What an epoch is won for. It decides what must be true of the epoch before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Purpose {
    /// Starting the VM cold. The epoch before must be released (or this is the first).
    Start,
    /// The commit of a migration, by the destination: after this the source never continues.
    Activate {
        /// The migration that is committed.
        migration: MigrationId,
    },
    /// The abort of a migration after its release, by the source: it takes the destination's
    /// number, so that the destination cannot win it, and may continue its own QEMU.
    Void {
        /// The migration that is aborted.
        migration: MigrationId,
    },
    /// A destination that won but cannot run says so: its QEMU is destroyed, the source may
    /// take the next number. Nobody runs under this epoch.
    GiveBack {
        /// The host that may take the next epoch.
        to: HostId,
        /// The migration that failed.
        migration: MigrationId,
    },
    /// The source continues what was given back to it.
    TakeBack {
        /// The migration that failed.
        migration: MigrationId,
    },
    /// The VM is deleted. The last epoch of every VM; nothing follows it.
    Delete,
}

impl Purpose {
    /// Whether the winner of an epoch with this purpose may have a QEMU running under it.
    #[must_use]
    pub fn runs(&self) -> bool {
        !matches!(self, Self::GiveBack { .. } | Self::Delete)
    }

    /// The migration this belongs to, if any.
    #[must_use]
    pub fn migration(&self) -> Option<MigrationId> {
        match self {
            Self::Activate { migration }
            | Self::Void { migration }
            | Self::GiveBack { migration, .. }
            | Self::TakeBack { migration } => Some(*migration),
            Self::Start | Self::Delete => None,
        }
    }
}

/// The content of `epoch/<N>`. Written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The VM; so that a file in the wrong folder is noticed.
    pub vm: VmId,
    /// The number; so that a file under the wrong name is noticed.
    pub epoch: Epoch,
    /// Who won it.
    pub owner: Owner,
    /// What for.
    pub purpose: Purpose,
    /// Tells one attempt from every other, also of the same process: after an error of `link`
    /// this, and nothing else, says whose the file is.
    pub nonce: Uuid,
    /// The winner's wall clock, for people. Nothing is ever decided by it.
    #[serde(with = "time::serde::rfc3339")]
    pub written_at: OffsetDateTime,
}

/// Who a VM belonged to when its epoch files were read.
///
/// A view, out of date the moment it is made: good for showing, for choosing the number to
/// claim next, and for refusing. Only a [`Claim`](crate::Claim) allows anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The record of the newest epoch.
    pub record: Record,
    /// Whether its owner said that its QEMU is gone.
    pub released: bool,
}

impl Ownership {
    /// The newest epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// The VM was deleted; only its epoch files are left, for ever.
    #[must_use]
    pub fn deleted(&self) -> bool {
        self.record.purpose == Purpose::Delete
    }
}
