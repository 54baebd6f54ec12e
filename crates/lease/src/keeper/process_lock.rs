//! A lock per VM that its process itself holds, by an inherited open file.
//!
//! The kernel drops it when the process is really gone, whoever its parent was. So a keeper
//! that takes over from one that died can tell a QEMU that is still dying (or stuck in the
//! kernel, where no signal reaches it) from one that is gone, and starts no second one.

use crate::ofd;
use godwit_model::ids::VmId;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Takes the lock of `vm`; none if a process still has it. The lock lasts as long as any copy
/// of this open file: give it to the child, then drop it here.
pub(super) fn take(run_dir: &Path, vm: VmId) -> io::Result<Option<File>> {
    let path = path(run_dir, vm);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(ofd::try_lock(&file)?.then_some(file))
}

/// Whether no process of `vm` that a keeper of this run directory started exists any more.
///
/// An [`Exit`](super::Exit) says so too; this also answers after the keeper itself died. Only
/// when it is true may the VM's epoch be released or given back. Blocks very briefly.
///
/// # Errors
/// If the lock file cannot be opened.
pub fn vm_process_gone(run_dir: &Path, vm: VmId) -> io::Result<bool> {
    match OpenOptions::new().write(true).open(path(run_dir, vm)) {
        Ok(file) => Ok(!ofd::is_locked(&file)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

fn path(run_dir: &Path, vm: VmId) -> PathBuf {
    run_dir.join("locks").join(format!("{vm}.lock"))
}
