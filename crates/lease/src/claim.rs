//! The right to run a VM, as a value.
//!
//! A `Claim` cannot be cloned or made up: it comes from winning an epoch, or from finding again
//! what this host won in this boot. Code that starts or continues a QEMU takes one.

use crate::record::{Purpose, Record};
use godwit_model::{epoch::Epoch, ids::VmId};

/// Proof that this host won an epoch of a VM.
///
/// A claim says nothing about later epochs: whoever migrates a VM away invites another host to
/// win the next one. After the release of a migration the source may continue its QEMU only
/// with a claim won after that (`Purpose::Void` or `Purpose::TakeBack`), never with the one it
/// held before, and never with one [found again](Claim::found_again).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claim that is dropped leaves the epoch owned by this host, with nobody to release it"]
pub struct Claim {
    record: Record,
    found_again: bool,
}

impl Claim {
    /// Only a lease calls this, and only after winning.
    pub(crate) fn won(record: Record) -> Self {
        Self {
            record,
            found_again: false,
        }
    }

    /// Only a lease calls this, for the newest epoch of this host in this boot.
    pub(crate) fn again(record: Record) -> Self {
        Self {
            record,
            found_again: true,
        }
    }

    /// The VM.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.record.vm
    }

    /// The epoch that was won.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// What it was won for.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.record.purpose
    }

    /// What stands in the epoch file.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether this came from [`Lease::held`](crate::Lease::held) rather than from winning.
    ///
    /// Such a claim allows adopting a QEMU that runs, continuing an incoming one that never
    /// ran, and everything that ends a right (release, give back, void). It does not allow
    /// continuing a QEMU in `postmigrate`: its VM may run elsewhere by the time of the call.
    #[must_use]
    pub fn found_again(&self) -> bool {
        self.found_again
    }
}

/// A claim that is prepared, or whose outcome is not known yet. Nothing may run by it; it can only be settled, see
/// [`Lease::settle`](crate::Lease::settle). Dropping it is safe: if the epoch was won after
/// all, [`Lease::held`](crate::Lease::held) finds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    pub(crate) record: Record,
    pub(crate) attempts: u32,
    /// Whether the temporary file of this attempt is written and synced already.
    pub(crate) written: bool,
}

impl Pending {
    /// The VM.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.record.vm
    }

    /// The epoch it is about.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }
}
