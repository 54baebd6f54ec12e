//! `godwit lab down`: takes away whatever there is of a lab, however it came to be that way.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::LabError;
use crate::folder::{Description, Folder};
use crate::network;
use crate::processes;

/// Takes the lab in a folder down. None there is no error. Its files (VMs, the manager's state, logs) stay, so that
/// `up` brings the same farm back, unless `purge` is set.
///
/// # Errors
/// [`LabError`]; what could be taken away is gone nevertheless, and `down` can be repeated.
pub fn down(dir: &Path, purge: bool) -> Result<(), LabError> {
    let folder = Folder::new(dir);
    if !dir.exists() {
        return Ok(());
    }
    let lock = folder.lock()?;
    match folder.description() {
        Ok(Some(description)) => take_down(&description, &folder)?,
        // Without a description there is no network of ours that could be named; processes bear their mark.
        Ok(None) | Err(LabError::Description { .. }) => {
            end_boxes(&folder)?;
            forget(&folder)?;
        }
        Err(other) => return Err(other),
    }
    if purge {
        fs::remove_dir_all(dir).map_err(LabError::file("remove", dir))?;
    }
    drop(lock);
    Ok(())
}

/// Takes everything away that is not a file.
pub(crate) fn take_down(description: &Description, folder: &Folder) -> Result<(), LabError> {
    // Processes first: what they hold cannot be taken away.
    let ended = end_boxes(folder);
    let network = if network::is_anothers(&description.spec, &description.plan) {
        Ok(())
    } else {
        network::remove(description)
    };
    ended.and(network)?;
    // Last: as long as something is left, it says what.
    forget(folder)
}

fn end_boxes(folder: &Folder) -> Result<(), LabError> {
    let inits = processes::inits(folder.path());
    processes::end(&inits, |name| folder.log(name))
}

fn forget(folder: &Folder) -> Result<(), LabError> {
    let path = folder.path().join("lab.json");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::file("remove", &path)(error))
        }
        _ => Ok(()),
    }
}
