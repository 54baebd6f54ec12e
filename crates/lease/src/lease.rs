//! The lease: what any store must offer that decides who may run a VM.
//!
//! ```text
//!  epoch    1           2                  3              4               5
//!        Start A ──► Activate B ──►     Void B ──►     Activate C ──► GiveBack C→B ──► TakeBack B
//!        (cold)     (A migrated to B)  (B → C failed,   (B → C again)  (C cannot run)
//!                                       B goes on)
//! ```
//!
//! Epoch N belongs to whoever wins it, once and for ever. The caller fixes N when it makes its
//! plan and never says "the newest plus one": a late claim would otherwise step over an abort.
//! Reading authorizes nothing. All methods block, for as long as the storage takes.
//!
//! [`DatastoreLease`](crate::DatastoreLease) keeps epochs as files; a store with transactions
//! (etcd: create the key if it does not exist) fits the same methods.

use crate::{
    claim::{Claim, Pending},
    error::{ClaimError, GiveBackError, ReleaseError, StorageError},
    home::VmHome,
    owner::Owner,
    record::{Ownership, Purpose},
};
use godwit_model::{
    epoch::Epoch,
    ids::{HostId, MigrationId},
};

/// Decides who may run a VM, and remembers it.
pub trait Lease: Send + Sync {
    /// Who this lease claims for.
    fn owner(&self) -> &Owner;

    /// Wins exactly `epoch`, or says why not. Durable when it returns `Ok`.
    ///
    /// # Errors
    /// See [`ClaimError`]: its variants differ in what the caller may conclude. A `Lost` whose
    /// winner is this same owner is a repeated command, or an earlier attempt of this host that
    /// was given up unsettled: [`held`](Self::held) then finds it.
    fn claim(&self, vm: &VmHome, epoch: Epoch, purpose: Purpose) -> Result<Claim, ClaimError>;

    /// Does of a claim what can be done beforehand, so that [`settle`](Self::settle) is quicker. Nothing is won by it,
    /// and nothing is lost if it is never settled.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), but never `Lost` or `Unknown`: the number is not asked for.
    fn prepare(&self, vm: &VmHome, epoch: Epoch, purpose: Purpose) -> Result<Pending, ClaimError>;

    /// Asks for a prepared number, or tries again to learn the outcome of an unknown claim, by the same attempt: it is
    /// won or lost as if it had answered at once.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); `Unknown` again while the storage does not answer.
    fn settle(&self, vm: &VmHome, pending: Pending) -> Result<Claim, ClaimError>;

    /// The source aborts after the release: wins the number the destination was to claim, so
    /// that it cannot. With the claim it returns, and no other, the source continues its QEMU.
    ///
    /// # Errors
    /// As [`claim`](Self::claim). `Lost`: the destination won, the source must never continue.
    fn void(&self, vm: &VmHome, epoch: Epoch, migration: MigrationId) -> Result<Claim, ClaimError> {
        self.claim(vm, epoch, Purpose::Void { migration })
    }

    /// Says that the QEMU of this epoch is gone (its exit was seen, not just asked for), so
    /// that any host may start the VM.
    ///
    /// # Errors
    /// If it could not be written; the claim is in the error.
    fn release(&self, vm: &VmHome, claim: Claim) -> Result<(), ReleaseError>;

    /// After a reboot: releases the newest epoch if this host held it in a former boot, whose
    /// QEMU is gone with it. Says which epoch was released, if any.
    ///
    /// # Errors
    /// If the storage does not answer.
    fn release_former_boot(&self, vm: &VmHome) -> Result<Option<Epoch>, StorageError>;

    /// The destination won but cannot run: names the source as the one to go on, by winning the
    /// number after `claim`, and returns that number; the source takes the one after it with
    /// [`Purpose::TakeBack`]. The destination's QEMU must be gone before this is called.
    ///
    /// # Errors
    /// If it could not be written; the claim is in the error, and the call may be repeated.
    fn give_back(
        &self,
        vm: &VmHome,
        claim: Claim,
        source: HostId,
        migration: MigrationId,
    ) -> Result<Epoch, GiveBackError>;

    /// What the newest epoch says; none if the VM was never started. Authorizes nothing.
    ///
    /// # Errors
    /// If the storage does not answer, or the newest record cannot be read.
    fn newest(&self, vm: &VmHome) -> Result<Option<Ownership>, StorageError>;

    /// Finds again what this host won in this boot, after a restart of the agent: the newest
    /// epoch, if this owner holds it and has not released it.
    ///
    /// Why this may give out a claim although reading authorizes nothing: epoch N was won by a
    /// process of this host in this boot, and a number is won once; so no other host ever won
    /// N, and no host starts the VM while N is neither released nor fenced. The QEMU that runs
    /// was started or continued by this host under N; if there is none, this host may start one
    /// or release N. What the reader cannot know is whether a *migration away* from N is
    /// past its release: see [`Claim::found_again`] for what follows. Callers make sure that
    /// only one agent runs per host (it locks its run directory); two of them would both find
    /// the same claim.
    ///
    /// # Errors
    /// If the storage does not answer, or the newest record cannot be read.
    fn held(&self, vm: &VmHome) -> Result<Option<Claim>, StorageError>;
}
