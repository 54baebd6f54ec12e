//! Giving up root's rights. A relay parses what another host sends, so it must own nothing while it does.
//!
//! The receiving relay keeps one capability, CAP_NET_ADMIN, until the right relay was let in: an accepted socket does
//! not inherit its listener's priority, and setting one takes that capability.

use std::io;

use nix::unistd::{self, Gid, Uid};

/// The user and group `nobody`.
const NOBODY: u32 = 65534;
/// From capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// A relay that keeps rights it must not have.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A step failed.
    #[error("cannot give up root's rights ({step}); the relay does not run with them")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Every step worked, and yet root's rights can be had again.
    #[error(
        "root's rights can still be had after giving them up; the relay does not run with them"
    )]
    StillRoot,
}

/// What to keep for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// CAP_NET_ADMIN, until [`drop_capabilities`].
    NetAdmin,
}

/// From here on the calling thread, and every thread it starts, can gain nothing by exec.
pub fn gain_nothing() -> Result<(), PrivilegeError> {
    prctl("no_new_privs", libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Becomes `nobody` for good, if it is root now; afterwards nobody can read the process's memory. The C library does
/// the same to the process's other threads, which keep nothing.
pub fn become_nobody(keep: Keep) -> Result<(), PrivilegeError> {
    if Uid::effective().is_root() {
        let keeping = keep == Keep::NetAdmin;
        prctl(
            "keepcaps",
            libc::PR_SET_KEEPCAPS,
            libc::c_ulong::from(keeping),
        )?;
        step("setgroups", unistd::setgroups(&[]))?;
        step("setgid", unistd::setgid(Gid::from_raw(NOBODY)))?;
        step("setuid", unistd::setuid(Uid::from_raw(NOBODY)))?;
        set_capabilities(if keeping { 1 << CAP_NET_ADMIN } else { 0 })?;
        prctl("keepcaps", libc::PR_SET_KEEPCAPS, 0)?;
        if unistd::setuid(Uid::from_raw(0)).is_ok() || Uid::effective().as_raw() != NOBODY {
            return Err(PrivilegeError::StillRoot);
        }
    }
    prctl("dumpable", libc::PR_SET_DUMPABLE, 0)
}

/// Gives up what [`Keep::NetAdmin`] kept, in the calling thread.
pub fn drop_capabilities() -> Result<(), PrivilegeError> {
    if Uid::effective().is_root() {
        // Started by root in a test within one process: there was nothing given up and is nothing to keep.
        return Ok(());
    }
    set_capabilities(0)
}

fn step(step: &'static str, result: nix::Result<()>) -> Result<(), PrivilegeError> {
    result.map_err(|errno| PrivilegeError::Step {
        step,
        source: errno.into(),
    })
}

fn prctl(
    step: &'static str,
    option: libc::c_int,
    value: libc::c_ulong,
) -> Result<(), PrivilegeError> {
    let unused: libc::c_ulong = 0;
    // SAFETY: the options used here take one number and unused zeros; no memory is involved.
    if unsafe { libc::prctl(option, value, unused, unused, unused) } == 0 {
        return Ok(());
    }
    Err(PrivilegeError::Step {
        step,
        source: io::Error::last_os_error(),
    })
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes `mask` all capabilities of the calling thread, effective and permitted.
fn set_capabilities(mask: u32) -> Result<(), PrivilegeError> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let low = CapabilityWord {
        effective: mask,
        permitted: mask,
        inheritable: 0,
    };
    let words = [
        low,
        CapabilityWord {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        },
    ];
    // SAFETY: capset(2) version 3 reads one header and two words of the layouts above; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) };
    if result == 0 {
        return Ok(());
    }
    Err(PrivilegeError::Step {
        step: "capset",
        source: io::Error::last_os_error(),
    })
}
