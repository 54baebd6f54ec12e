//! What the agent writes down of each VM on its host, so that its next life can go on: one
//! JSON file a VM in the state directory, replaced as a whole and durably.
//!
//! Records remember; they decide nothing. Who may run a VM is for the lease alone to say.

use crate::answer::{Answer, Tell, blocking};
use crate::identity::write_private;
use godwit_api::agent::PeerRef;
use godwit_api::error::ErrorCode;
use godwit_model::epoch::Epoch;
use godwit_model::ids::{MigrationId, VmId};
use godwit_model::vm::VmDefinition;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    /// What it is.
    pub definition: VmDefinition,
    /// The epoch it runs under; none if it does not run.
    pub epoch: Option<Epoch>,
    /// The migration that its QEMU takes part in, if it does.
    pub migration: Option<MigrationRecord>,
}

/// A migration that was not at its end when this was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum MigrationRecord {
    /// The VM was here first.
    Source {
        /// The migration.
        id: MigrationId,
        /// The epoch that decides it.
        epoch: Epoch,
        /// Where it goes.
        destination: PeerRef,
    },
    /// The VM comes here.
    Destination {
        /// The migration.
        id: MigrationId,
        /// The epoch that decides it.
        epoch: Epoch,
        /// Where it comes from.
        source: PeerRef,
    },
}

impl VmRecord {
    /// A VM that does not run.
    #[must_use]
    pub fn stopped(definition: VmDefinition) -> Self {
        Self {
            definition,
            epoch: None,
            migration: None,
        }
    }
}

/// All records of a host.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// The records in a state directory; the folder is made.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(state_dir: &Path) -> std::io::Result<Self> {
        let dir = state_dir.join("vms");
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Everything that can be read; what cannot is logged and left.
    #[must_use]
    pub fn all(&self) -> Vec<VmRecord> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let json = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
        json.filter_map(|path| match read(&path) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a VM's record cannot be read");
                None
            }
        })
        .collect()
    }

    /// Writes a VM's record, durably.
    ///
    /// # Errors
    /// If the file system refuses.
    pub async fn write(&self, record: &VmRecord) -> Answer<()> {
        let path = self.path(record.definition.id);
        let json = serde_json::to_vec_pretty(record).told(ErrorCode::Internal)?;
        blocking(move || write_private(&path, &json).told(ErrorCode::Internal)).await
    }

    /// Removes a VM's record. None there is no error.
    pub async fn remove(&self, vm: VmId) {
        let path = self.path(vm);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%vm, %error, "a VM's record cannot be removed");
        }
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.dir.join(format!("{vm}.json"))
    }
}

fn read(path: &Path) -> std::io::Result<VmRecord> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::a_definition;

    #[tokio::test]
    async fn records_come_back_and_damaged_ones_do_not_hide_others() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let record = VmRecord {
            epoch: Some(Epoch(3)),
            migration: Some(MigrationRecord::Source {
                id: MigrationId::random(),
                epoch: Epoch(4),
                destination: PeerRef {
                    id: "b".parse().unwrap(),
                    address: "127.0.0.1:1".parse().unwrap(),
                },
            }),
            ..VmRecord::stopped(a_definition())
        };
        records.write(&record).await.unwrap();
        std::fs::write(dir.path().join("vms/x.json"), "{").unwrap();
        assert_eq!(records.all(), std::slice::from_ref(&record));
        records.remove(record.definition.id).await;
        records.remove(record.definition.id).await;
        assert!(records.all().is_empty());
    }
}
