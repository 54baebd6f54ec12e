//! `definition.<epoch>.json`: what a VM is, beside its disks, so that any host can restart it.
//!
//! Each file is replaced as a whole and durably. A reader takes the newest one that it can
//! read: a definition that a failing storage damaged must not hide the one before it.

use crate::{
    datastore::files::{Files, RealFiles, replace},
    error::{DefinitionError, StorageError},
    home::VmHome,
};
use godwit_model::epoch::Epoch;
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// A definition that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition<T> {
    /// The epoch it was written in; 0 for a VM that was never started.
    pub epoch: Epoch,
    /// What it says.
    pub content: T,
}

/// Writes the definition as of `epoch`, replacing one of the same epoch.
///
/// Only the holder of the epoch calls this (or, for epoch 0, the creator of the VM).
///
/// # Errors
/// If the storage fails; the former definition then still stands.
pub fn write_definition<T: Serialize>(
    vm: &VmHome,
    epoch: Epoch,
    content: &T,
) -> Result<(), DefinitionError> {
    let mut json = serde_json::to_vec_pretty(content).map_err(DefinitionError::Serialize)?;
    json.push(b'\n');
    replace(&RealFiles, vm.dir(), &name(epoch), &json)?;
    Ok(())
}

/// The newest definition that can be read as a `T`.
///
/// # Errors
/// If the folder cannot be read, or holds none.
pub fn newest_definition<T: DeserializeOwned>(
    vm: &VmHome,
) -> Result<Definition<T>, DefinitionError> {
    let dir = vm.dir();
    let names = RealFiles.names(dir).map_err(|source| StorageError {
        doing: "list",
        path: dir.to_path_buf(),
        source,
    })?;
    let mut epochs: Vec<Epoch> = names.iter().filter_map(|name| epoch_of(name)).collect();
    epochs.sort_unstable();
    for &epoch in epochs.iter().rev() {
        match read(&dir.join(name(epoch))) {
            Ok(content) => return Ok(Definition { epoch, content }),
            Err(error) => {
                tracing::warn!(vm = %vm.vm(), %epoch, %error, "skipping an unreadable definition");
            }
        }
    }
    Err(DefinitionError::None {
        dir: dir.to_path_buf(),
        unreadable: epochs.len(),
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let bytes = RealFiles.read(path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

fn name(epoch: Epoch) -> String {
    format!("definition.{epoch}.json")
}

fn epoch_of(name: &str) -> Option<Epoch> {
    let number = name.strip_prefix("definition.")?.strip_suffix(".json")?;
    number.parse().ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::ids::VmId;
    use std::fs;

    fn home() -> (tempfile::TempDir, VmHome) {
        let datastore = tempfile::tempdir().expect("a temporary folder");
        let home = VmHome::new(datastore.path(), VmId::random());
        home.create().expect("creates");
        (datastore, home)
    }

    #[test]
    fn the_newest_is_read_and_the_same_epoch_replaced() {
        let (_datastore, home) = home();
        write_definition(&home, Epoch(0), &"new").expect("writes");
        write_definition(&home, Epoch(9), &"nine").expect("writes");
        write_definition(&home, Epoch(10), &"ten").expect("writes");
        write_definition(&home, Epoch(10), &"ten again").expect("replaces");
        let newest: Definition<String> = newest_definition(&home).expect("reads");
        assert_eq!(
            (newest.epoch, newest.content.as_str()),
            (Epoch(10), "ten again")
        );
    }

    #[test]
    fn a_damaged_one_does_not_hide_the_one_before() {
        let (_datastore, home) = home();
        write_definition(&home, Epoch(1), &"good").expect("writes");
        fs::write(home.dir().join("definition.2.json"), b"\"torn").expect("writes");
        let newest: Definition<String> = newest_definition(&home).expect("reads");
        assert_eq!(newest.epoch, Epoch(1));
    }

    #[test]
    fn none_is_an_error_that_counts_the_damaged() {
        let (_datastore, home) = home();
        fs::write(home.dir().join("definition.2.json"), b"").expect("writes");
        let error = newest_definition::<String>(&home).expect_err("nothing readable");
        assert!(
            matches!(error, DefinitionError::None { unreadable: 1, .. }),
            "{error}"
        );
    }
}
