//! Who holds an epoch: a host, in one boot of it.
//!
//! The boot matters because it bounds what can still run: a claim of a former boot belongs to
//! a QEMU that the reboot has certainly ended, a claim of this boot to one that may be alive.

use godwit_model::ids::HostId;
use serde::{Deserialize, Serialize};
use std::{fmt, fs, io};

/// One boot of one machine (or of one container, which for its processes is the same thing).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

impl BootId {
    /// The boot this process lives in: the kernel's boot id and the start time of process 1.
    ///
    /// Process 1 is part of it because everything in a PID namespace dies with its process 1;
    /// a container that is started again must not take its former life's claims for its own.
    ///
    /// # Errors
    /// If `/proc` is not mounted or not readable.
    pub fn current() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let init = fs::read_to_string("/proc/1/stat")?;
        let started = start_time(&init).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "/proc/1/stat has no start time: is /proc the kernel's?",
            )
        })?;
        Ok(Self(format!("{}.{started}", boot.trim())))
    }
}

impl From<&str> for BootId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)), counted from after the command name, which may
/// itself hold spaces and brackets.
fn start_time(stat: &str) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)
}

/// Who claims: this host, in this boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The host.
    pub host: HostId,
    /// Its boot.
    pub boot: BootId,
}

impl Owner {
    /// The owner that this process claims for.
    ///
    /// # Errors
    /// If the boot id cannot be read, see [`BootId::current`].
    pub fn this(host: HostId) -> io::Result<Self> {
        let boot = BootId::current()?;
        Ok(Self { host, boot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_command_name_does_not_shift_the_fields() {
        let stat = "1 (a) b ) c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        assert_eq!(start_time(stat), Some("777"));
        assert_eq!(start_time("nonsense"), None);
    }

    #[test]
    fn the_boot_stays_the_same_while_it_lasts() {
        let once = BootId::current().expect("a kernel with /proc");
        assert_eq!(once, BootId::current().expect("again"));
    }
}
