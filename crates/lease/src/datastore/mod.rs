//! The lease as files on the VM's own datastore: `<vm>/epoch/<N>`.
//!
//! Why files, and why there: `docs/decisions/epoch-files.md`. How one is won: `attempt.rs`.

mod attempt;
#[cfg(test)]
mod crash_tests;
pub(crate) mod files;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod rule_tests;

use crate::{
    claim::{Claim, Pending},
    error::{ClaimError, GiveBackError, Refusal, ReleaseError, StorageError},
    home::VmHome,
    lease::Lease,
    owner::Owner,
    record::{Ownership, Purpose, Record},
    rules,
};
use files::{Files, RealFiles, replace};
use godwit_model::{
    epoch::Epoch,
    ids::{HostId, MigrationId},
};
use std::{io, path::Path, sync::Arc};
use time::OffsetDateTime;
use uuid::Uuid;

/// Epochs as hard-linked files on a datastore that all hosts mount.
#[derive(Clone)]
pub struct DatastoreLease {
    owner: Owner,
    files: Arc<dyn Files>,
}

impl DatastoreLease {
    /// A lease that claims for `owner`.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self::with_files(owner, Arc::new(RealFiles))
    }

    fn with_files(owner: Owner, files: Arc<dyn Files>) -> Self {
        Self { owner, files }
    }

    fn ownership(&self, vm: &VmHome, epoch: Epoch) -> Result<Option<Ownership>, StorageError> {
        let Some(record) = self.record(vm, epoch)? else {
            return Ok(None);
        };
        let released = self.read(&vm.released(epoch))?.is_some();
        Ok(Some(Ownership { record, released }))
    }

    fn record(&self, vm: &VmHome, epoch: Epoch) -> Result<Option<Record>, StorageError> {
        let path = vm.epoch(epoch);
        let Some(content) = self.read(&path)? else {
            return Ok(None);
        };
        let problem = match serde_json::from_slice::<Record>(&content) {
            Ok(record) if record.vm == vm.vm() && record.epoch == epoch => return Ok(Some(record)),
            Ok(_) => "it is the record of another VM or epoch".to_owned(),
            Err(e) => e.to_string(),
        };
        let source = io::Error::new(io::ErrorKind::InvalidData, problem);
        let doing = "understand";
        Err(StorageError {
            doing,
            path,
            source,
        })
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        match self.files.read(path) {
            Ok(content) => Ok(Some(content)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StorageError {
                doing: "read",
                path: path.to_path_buf(),
                source,
            }),
        }
    }

    /// The highest number there is; 0 if there is none.
    fn highest(&self, vm: &VmHome) -> Result<Epoch, ClaimError> {
        let path = vm.epochs();
        let names = match self.files.names(&path) {
            Ok(names) => names,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::NoHome { path }.into());
            }
            Err(source) => {
                let doing = "list";
                return Err(ClaimError::Unreachable(StorageError {
                    doing,
                    path,
                    source,
                }));
            }
        };
        let numbers = names.iter().filter_map(|name| name.parse().ok());
        Ok(Epoch(numbers.max().unwrap_or(0)))
    }

    /// Refuses what could only be a mistake. It cannot let a second winner in: numbers have no
    /// gaps and are never freed, so while N does not exist nothing later does, and whether N
    /// exists is for `link` alone to say.
    fn check(&self, vm: &VmHome, epoch: Epoch, purpose: &Purpose) -> Result<(), ClaimError> {
        let newest = self.highest(vm)?;
        if newest > epoch || epoch < Epoch::FIRST {
            if self
                .ownership(vm, newest)
                .is_ok_and(|o| o.is_some_and(|o| o.deleted()))
            {
                return Err(Refusal::Deleted { vm: vm.vm() }.into());
            }
            return Err(Refusal::Passed { epoch, newest }.into());
        }
        let missing = Epoch(epoch.0 - 1);
        let before = if epoch == Epoch::FIRST {
            None
        } else {
            let before = self
                .ownership(vm, missing)
                .map_err(ClaimError::Unreachable)?;
            Some(before.ok_or(Refusal::Gap { epoch, missing })?)
        };
        Ok(rules::check(&self.owner, epoch, purpose, before.as_ref())?)
    }

    fn release_epoch(&self, vm: &VmHome, record: &Record) -> Result<(), StorageError> {
        // The content is for people; that the file exists is what counts.
        let content = format!(
            "released by {} in boot {}\n",
            self.owner.host, self.owner.boot
        );
        let name = format!("{}.released", record.epoch);
        replace(&*self.files, &vm.epochs(), &name, content.as_bytes())
    }
}

impl DatastoreLease {
    fn pending(&self, vm: &VmHome, epoch: Epoch, purpose: Purpose) -> Pending {
        let record = Record {
            vm: vm.vm(),
            epoch,
            owner: self.owner.clone(),
            purpose,
            nonce: Uuid::new_v4(),
            written_at: OffsetDateTime::now_utc(),
        };
        Pending {
            record,
            attempts: 0,
            written: false,
        }
    }
}

impl Lease for DatastoreLease {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn claim(&self, vm: &VmHome, epoch: Epoch, purpose: Purpose) -> Result<Claim, ClaimError> {
        self.check(vm, epoch, &purpose)?;
        self.attempt(vm, self.pending(vm, epoch, purpose))
    }

    fn prepare(&self, vm: &VmHome, epoch: Epoch, purpose: Purpose) -> Result<Pending, ClaimError> {
        self.check(vm, epoch, &purpose)?;
        self.write_ahead(vm, self.pending(vm, epoch, purpose))
    }

    fn settle(&self, vm: &VmHome, pending: Pending) -> Result<Claim, ClaimError> {
        self.attempt(vm, pending)
    }

    fn release(&self, vm: &VmHome, claim: Claim) -> Result<(), ReleaseError> {
        self.release_epoch(vm, claim.record()).map_err(|source| {
            let claim = Box::new(claim);
            ReleaseError { claim, source }
        })
    }

    fn release_former_boot(&self, vm: &VmHome) -> Result<Option<Epoch>, StorageError> {
        let Some(Ownership {
            record,
            released: false,
        }) = self.newest(vm)?
        else {
            return Ok(None);
        };
        let former = record.owner.host == self.owner.host && record.owner.boot != self.owner.boot;
        if !former || !record.purpose.runs() {
            return Ok(None);
        }
        self.release_epoch(vm, &record)?;
        Ok(Some(record.epoch))
    }

    fn give_back(
        &self,
        vm: &VmHome,
        claim: Claim,
        source: HostId,
        migration: MigrationId,
    ) -> Result<Epoch, GiveBackError> {
        let epoch = claim.epoch().next();
        let purpose = Purpose::GiveBack {
            to: source,
            migration,
        };
        match self.claim(vm, epoch, purpose.clone()) {
            Ok(_) => Ok(epoch),
            // It gives nothing to this host, so whichever of its attempts won is all the same.
            Err(ClaimError::Lost { winner })
                if winner.owner == self.owner && winner.purpose == purpose =>
            {
                Ok(epoch)
            }
            Err(source) => Err(GiveBackError {
                claim: Box::new(claim),
                source: Box::new(source),
            }),
        }
    }

    fn newest(&self, vm: &VmHome) -> Result<Option<Ownership>, StorageError> {
        let mut epoch = match self.highest(vm) {
            Ok(epoch) => epoch,
            Err(ClaimError::Unreachable(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut newest = match epoch {
            Epoch(0) => None,
            _ => self.ownership(vm, epoch)?,
        };
        // A listing may come from a cache; opening the next name asks the server.
        while let Some(later) = self.ownership(vm, epoch.next())? {
            epoch = epoch.next();
            newest = Some(later);
        }
        Ok(newest)
    }

    fn held(&self, vm: &VmHome) -> Result<Option<Claim>, StorageError> {
        let Some(Ownership {
            record,
            released: false,
        }) = self.newest(vm)?
        else {
            return Ok(None);
        };
        let gives_a_right = record.purpose.runs() || record.purpose == Purpose::Delete;
        if record.owner != self.owner || !gives_a_right {
            return Ok(None);
        }
        // The process that won may have died between its link and its sync.
        let path = vm.epochs();
        self.files.sync_dir(&path).map_err(|source| {
            let doing = "sync";
            StorageError {
                doing,
                path,
                source,
            }
        })?;
        Ok(Some(Claim::again(record)))
    }
}
