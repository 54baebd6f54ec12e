//! Datastores that can be made to fail, for one blade alone.
//!
//! With `--faulty-storage` each blade sees its datastores through a thin FUSE layer, served by threads of the blade's
//! first process; without it there is no such layer, so that measured runs are not slowed. A word in a file of the
//! lab's folder says how a blade's datastore behaves ([`Mode`]); it is read before every call, so what
//! [`set`] writes holds for the very next one, and calls that hang go on when it changes.
//!
//! # Locks
//! QEMU guards images, and the lease its fences, by locks of the open file (OFD locks). Each open file of the layer is
//! one open file below, on which the layer takes the same locks: they hold between blades, exactly as over bind
//! mounts. Locks of the process kind (`F_SETLK`) become locks of the open file; flock(2) stays within one blade.
//!
//! # Coherence
//! Nothing is cached by the kernel (no attributes, names or pages), so that what one blade writes another reads at
//! once; only mode `stale` serves old answers. mmap(2) of files does not work, and nothing here needs it.

mod fuse;
mod layer;
mod locks;
mod memory;
mod mode;
mod nodes;

pub use mode::{Mode, mode, set};
pub(crate) use mode::{Watch, make};

use std::fs::File;
use std::path::Path;

use crate::error::LabError;

/// A datastore that is served; it fails for good when this is dropped.
pub(crate) struct Served {
    _session: fuser::BackgroundSession,
}

/// Serves `source` at `point`, in the mode that `watch` tells.
pub(crate) fn serve(source: File, point: &Path, watch: Watch) -> Result<Served, LabError> {
    let layer = layer::Layer::new(source, watch).map_err(LabError::file("serve", point))?;
    let name = fuser::MountOption::FSName("godwit-lab".into());
    let options = [
        name,
        fuser::MountOption::DefaultPermissions,
        fuser::MountOption::AllowOther,
    ];
    let session = fuser::spawn_mount2(fuse::Fuse(layer), point, &options).map_err(
        LabError::system(format!(
            "mount FUSE at {}: check that /dev/fuse is there",
            point.display()
        )),
    )?;
    Ok(Served { _session: session })
}

#[cfg(test)]
mod tests;
