//! Locks of open files, as the kernel below keeps them.

use std::fs::File;

use nix::fcntl::{FcntlArg, fcntl};

/// Takes, or gives back, a lock of the open file, at once or not at all.
pub(super) fn lock(file: &File, wanted: &libc::flock, wait: bool) -> Result<(), i32> {
    let call = if wait {
        FcntlArg::F_OFD_SETLKW(wanted)
    } else {
        FcntlArg::F_OFD_SETLK(wanted)
    };
    fcntl(file, call).map(drop).map_err(|error| error as i32)
}

/// The lock that is in the way of the one that is wanted, if any.
pub(super) fn conflict(file: &File, mut wanted: libc::flock) -> Result<libc::flock, i32> {
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut wanted)).map_err(|error| error as i32)?;
    Ok(wanted)
}
