//! Taps: the host's end of a VM's network card.
//!
//! QEMU opens a tap by name, after the agent made it and possibly long after the agent was restarted, so the tap must
//! outlive its maker: the device is there until [`remove`]. Whose it is stands in the interface's alias in full
//! length, since the name holds only a hash; a tap with another VM's mark is never taken.

use std::fmt;

use crate::bridge;
use crate::command::NetError;
use crate::link;
use crate::netns::Netns;

/// One network card of one VM: the key of a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    vm: String,
    index: u8,
}

impl Nic {
    /// Card number `index` (from 0) of the VM with this id.
    #[must_use]
    pub fn new(vm: impl Into<String>, index: u8) -> Self {
        Self {
            vm: vm.into(),
            index,
        }
    }

    /// The tap's name: `t<index>-` and 11 characters (55 bits) of the id's hash; always the same for the same card.
    #[must_use]
    pub fn tap_name(&self) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut hash = fnv1a(self.vm.as_bytes());
        let mut name = format!("t{}-", self.index);
        // Three digits of index leave room for one character less.
        for _ in 0..(link::LONGEST_NAME - name.len()).min(11) {
            name.push(char::from(LETTERS[usize::from(hash.to_le_bytes()[0] & 31)]));
            hash >>= 5;
        }
        name
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "godwit vm {} nic {}", self.vm, self.index)
    }
}

/// FNV-1a, 64 bits: the same on every build and machine, which the standard library's hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Makes the tap of a card, up and attached to the bridge, and returns its name. An existing one of the same card is
/// put right and kept, so a restarted agent may call this while the VM runs.
///
/// # Errors
/// [`NetError::Taken`] when the name belongs to another VM (a hash collision, or a leftover) or is no tap; else as
/// [`crate::command::run`].
pub fn ensure(netns: &Netns, nic: &Nic, bridge: &str) -> Result<String, NetError> {
    let name = nic.tap_name();
    match link::find(netns, &name)? {
        Some(found) => check_owner(&found, nic)?,
        None => create(netns, &name, nic)?,
    }
    bridge::attach(netns, bridge, &name)?;
    link::set_up(netns, &name)?;
    Ok(name)
}

/// Removes the tap of a card. None there is no error.
///
/// # Errors
/// [`NetError::Taken`] when it belongs to another VM; else as [`crate::command::run`].
pub fn remove(netns: &Netns, nic: &Nic) -> Result<(), NetError> {
    let name = nic.tap_name();
    let Some(found) = link::find(netns, &name)? else {
        return Ok(());
    };
    check_owner(&found, nic)?;
    link::remove(netns, &name)
}

/// Removes the taps of all cards of VMs for which `keep` says no: what a crash left behind. Returns their names.
///
/// # Errors
/// As [`crate::command::run`].
pub fn remove_stale(netns: &Netns, keep: impl Fn(&str) -> bool) -> Result<Vec<String>, NetError> {
    let mut removed = Vec::new();
    for found in link::list(netns)? {
        let Some(vm) = found.alias.as_deref().and_then(owner) else {
            continue;
        };
        if found.kind() == Some("tun") && !keep(vm) {
            link::remove(netns, &found.name)?;
            removed.push(found.name);
        }
    }
    Ok(removed)
}

fn owner(alias: &str) -> Option<&str> {
    alias.strip_prefix("godwit vm ")?.split(' ').next()
}

fn check_owner(found: &link::Link, nic: &Nic) -> Result<(), NetError> {
    let owner = found
        .alias
        .clone()
        .unwrap_or_else(|| "nobody that is known".into());
    if found.kind() == Some("tun") && owner == nic.to_string() {
        return Ok(());
    }
    Err(NetError::Taken {
        name: found.name.clone(),
        owner,
    })
}

fn create(netns: &Netns, name: &str, nic: &Nic) -> Result<(), NetError> {
    netns.ip(&[
        "tuntap", "add", "dev", name, "mode", "tap", "user", "root", "vnet_hdr",
    ])?;
    // From here on a failure must not leave a tap without a mark: nobody could claim it again.
    let marked = link::set_alias(netns, name, &nic.to_string()).and_then(|()| {
        netns
            .ip(&["link", "set", "dev", name, "addrgenmode", "none"])
            .map(drop)
    });
    marked.inspect_err(|_| drop(link::remove(netns, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchNetns;

    #[test]
    fn names_are_short_stable_and_differ() {
        let nic = Nic::new("0b9d4c9e-7d0b-4a58-8f8a-0f3a31cbd7a1", 0);
        // Fixed for good: a restarted or upgraded agent must find the tap of a running VM.
        assert_eq!(
            nic.tap_name(),
            Nic::new("0b9d4c9e-7d0b-4a58-8f8a-0f3a31cbd7a1", 0).tap_name()
        );
        assert_eq!(Nic::new("a", 0).tap_name(), "t0-me3dadsj46y");
        for index in [0, 9, 10, 255] {
            let name = Nic::new("vm", index).tap_name();
            link::check_name(&name).unwrap();
        }
        assert_ne!(Nic::new("a", 0).tap_name(), Nic::new("b", 0).tap_name());
        assert_ne!(Nic::new("a", 0).tap_name(), Nic::new("a", 1).tap_name());
    }

    #[test]
    fn a_tap_is_made_kept_moved_and_removed() {
        let scratch = ScratchNetns::new();
        bridge::ensure(&scratch, "br0").unwrap();
        bridge::ensure(&scratch, "br1").unwrap();
        let nic = Nic::new("vm-1", 0);
        let name = ensure(&scratch, &nic, "br0").unwrap();
        let before = scratch.ip(&["-o", "link", "show", &name]).unwrap();
        assert_eq!(ensure(&scratch, &nic, "br0").unwrap(), name);
        assert_eq!(
            scratch.ip(&["-o", "link", "show", &name]).unwrap(),
            before,
            "kept, not made anew"
        );
        ensure(&scratch, &nic, "br1").unwrap();
        assert_eq!(bridge::ports(&scratch, "br1").unwrap(), [name.as_str()]);
        assert!(link::find(&scratch, &name).unwrap().unwrap().is_up());
        remove(&scratch, &nic).unwrap();
        remove(&scratch, &nic).unwrap();
        assert_eq!(link::find(&scratch, &name).unwrap(), None);
    }

    #[test]
    fn a_tap_of_another_vm_is_not_taken() {
        let scratch = ScratchNetns::new();
        bridge::ensure(&scratch, "br0").unwrap();
        let nic = Nic::new("vm-1", 0);
        let name = ensure(&scratch, &nic, "br0").unwrap();
        link::set_alias(&scratch, &name, &Nic::new("vm-2", 0).to_string()).unwrap();
        let error = ensure(&scratch, &nic, "br0").unwrap_err();
        assert!(error.to_string().contains("vm-2"), "{error}");
        assert!(remove(&scratch, &nic).is_err());
    }

    #[test]
    fn only_leftovers_are_swept() {
        let scratch = ScratchNetns::new();
        bridge::ensure(&scratch, "br0").unwrap();
        let kept = ensure(&scratch, &Nic::new("vm-1", 0), "br0").unwrap();
        let stale = ensure(&scratch, &Nic::new("vm-2", 1), "br0").unwrap();
        scratch
            .ip(&["tuntap", "add", "dev", "foreign", "mode", "tap"])
            .unwrap();
        assert_eq!(remove_stale(&scratch, |vm| vm == "vm-1").unwrap(), [stale]);
        assert!(link::find(&scratch, &kept).unwrap().is_some());
        assert!(link::find(&scratch, "foreign").unwrap().is_some());
    }
}
