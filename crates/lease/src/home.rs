//! A VM's folder on its datastore: `<datastore>/vms/<vm-id>/`, and the names in it.
//!
//! ```text
//! definition.<epoch>.json   what the VM is, as of that epoch
//! epoch/<N>                 who won epoch N (never deleted, also after the VM)
//! epoch/<N>.released        its owner says: the QEMU of epoch N is gone
//! epoch/.*                  attempts under way, or left behind by a crash
//! disk0.qcow2, seed.iso, …  not the lease's business
//! ```

use crate::{
    claim::Claim,
    datastore::files::{Files, RealFiles},
    error::StorageError,
    record::Purpose,
};
use godwit_model::{epoch::Epoch, ids::VmId};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where a VM lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VmHome {
    vm: VmId,
    dir: PathBuf,
}

impl VmHome {
    /// The folder of `vm` on the datastore mounted at `datastore`; nothing is touched.
    #[must_use]
    pub fn new(datastore: &Path, vm: VmId) -> Self {
        let dir = datastore.join("vms").join(vm.to_string());
        Self { vm, dir }
    }

    /// The VM.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn epochs(&self) -> PathBuf {
        self.dir.join("epoch")
    }

    pub(crate) fn epoch(&self, epoch: Epoch) -> PathBuf {
        self.epochs().join(epoch.to_string())
    }

    pub(crate) fn released(&self, epoch: Epoch) -> PathBuf {
        self.epochs().join(format!("{epoch}.released"))
    }

    /// Makes the folder, durably. Only for a new VM: a claim never makes it, or a late claim
    /// could bring a VM back whose folder was removed.
    ///
    /// # Errors
    /// If it exists already, or the storage fails.
    pub fn create(&self) -> Result<(), StorageError> {
        let error = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| StorageError {
                doing,
                path,
                source,
            }
        };
        let vms = self.dir.parent().unwrap_or(&self.dir);
        match fs::create_dir(vms) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error("create", vms)(e));
            }
            _ => {}
        }
        let epochs = self.epochs();
        fs::create_dir(&self.dir).map_err(error("create", &self.dir))?;
        fs::create_dir(&epochs).map_err(error("create", &epochs))?;
        let datastore = vms.parent().unwrap_or(vms);
        for dir in [&self.dir, vms, datastore] {
            RealFiles.sync_dir(dir).map_err(error("sync", dir))?;
        }
        Ok(())
    }

    /// The VMs that have a folder on a datastore, deleted ones among them.
    ///
    /// # Errors
    /// If the datastore cannot be read.
    pub fn list(datastore: &Path) -> Result<Vec<Self>, StorageError> {
        let path = datastore.join("vms");
        let names = match RealFiles.names(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                let doing = "list";
                return Err(StorageError {
                    doing,
                    path,
                    source,
                });
            }
            Ok(names) => names,
        };
        let ids = names.iter().filter_map(|name| name.parse().ok());
        Ok(ids.map(|vm| Self::new(datastore, vm)).collect())
    }

    /// Removes disks, definitions and whatever else is there, and leaves the epoch files:
    /// a number that became free could be won again by a host that was away.
    ///
    /// # Errors
    /// If the storage fails; call it again.
    ///
    /// # Panics
    /// If `claim` is not this VM's [`Purpose::Delete`]: nothing else may delete.
    pub fn remove(&self, claim: &Claim) -> Result<(), StorageError> {
        assert!(
            claim.vm() == self.vm && *claim.purpose() == Purpose::Delete,
            "only a won Delete epoch of this VM allows removing its files"
        );
        let error = |path: &Path| {
            let path = path.to_path_buf();
            let doing = "remove";
            move |source| StorageError {
                doing,
                path,
                source,
            }
        };
        for entry in fs::read_dir(&self.dir).map_err(error(&self.dir))? {
            let path = entry.map_err(error(&self.dir))?.path();
            if path == self.epochs() {
                continue;
            }
            let removed = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(error(&path))?;
        }
        RealFiles.sync_dir(&self.dir).map_err(error(&self.dir))
    }
}
