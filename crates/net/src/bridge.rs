//! Virtual switches. A bridge here forwards at once: no spanning tree, no forward delay, or a VM that arrives would
//! be deaf for 30 s.

use std::fs;
use std::path::Path;

use crate::command::NetError;
use crate::link;
use crate::netns::Netns;

/// Makes a bridge that is up and forwards at once; one that exists is put right.
///
/// # Errors
/// [`NetError::Taken`] when the name belongs to something that is no bridge; else as [`crate::command::run`].
pub fn ensure(netns: &Netns, name: &str) -> Result<(), NetError> {
    link::check_name(name)?;
    match link::find(netns, name)? {
        Some(found) if found.kind() != Some("bridge") => {
            let owner = format!(
                "a {} interface, which is no bridge",
                found.kind().unwrap_or("physical")
            );
            return Err(NetError::Taken {
                name: name.into(),
                owner,
            });
        }
        Some(_) => {}
        None => match netns.ip(&["link", "add", "name", name, "type", "bridge"]) {
            Err(error) if !error.is_existing() => return Err(error),
            _ => {}
        },
    }
    // Snooping would drop multicast that no querier asked for; nothing here needs it.
    let wanted = [
        "type",
        "bridge",
        "stp_state",
        "0",
        "forward_delay",
        "0",
        "mcast_snooping",
        "0",
    ];
    netns.ip(&[&["link", "set", "dev", name], wanted.as_slice()].concat())?;
    pin_address(netns, name)?;
    link::set_up(netns, name)
}

/// Makes the bridge keep the MAC address it has. Left alone it takes the lowest of its ports': the host would change
/// its own address whenever a VM comes or goes, and be unreachable for whoever remembers the old one (seen: relays
/// that could not connect for 20 s).
fn pin_address(netns: &Netns, name: &str) -> Result<(), NetError> {
    let Some(bridge) = link::find(netns, name)? else {
        return Ok(()); // taken away meanwhile: the next command says so
    };
    netns
        .ip(&["link", "set", "dev", name, "address", &bridge.address])
        .map(drop)
}

/// Attaches an interface to a bridge; moving it from another one is done too.
///
/// # Errors
/// As [`crate::command::run`].
pub fn attach(netns: &Netns, bridge: &str, port: &str) -> Result<(), NetError> {
    if link::find(netns, port)?.is_some_and(|link| link.master.as_deref() == Some(bridge)) {
        return Ok(());
    }
    netns
        .ip(&["link", "set", "dev", port, "master", bridge])
        .map(drop)
}

/// Names of the interfaces attached to a bridge, sorted.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn ports(netns: &Netns, bridge: &str) -> Result<Vec<String>, NetError> {
    let links = link::list(netns)?;
    let mut names: Vec<String> = links
        .into_iter()
        .filter(|link| link.master.as_deref() == Some(bridge))
        .map(|link| link.name)
        .collect();
    names.sort();
    Ok(names)
}

/// Names of all bridges, sorted.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn list(netns: &Netns) -> Result<Vec<String>, NetError> {
    let links = link::list(netns)?;
    let mut names: Vec<String> = links
        .into_iter()
        .filter(|link| link.kind() == Some("bridge"))
        .map(|link| link.name)
        .collect();
    names.sort();
    Ok(names)
}

/// Removes a bridge. None there is no error; its ports stay, detached.
///
/// # Errors
/// As [`crate::command::run`].
pub fn remove(netns: &Netns, name: &str) -> Result<(), NetError> {
    link::remove(netns, name)
}

/// Keeps the host's packet filter out of bridged frames, where the kernel has that hook: a firewall made for the
/// host must not decide what VMs say to each other. The switch is the caller's network namespace's.
///
/// # Errors
/// [`NetError::File`] when the switch is there and cannot be written.
pub fn bypass_packet_filter() -> Result<(), NetError> {
    for hook in ["arptables", "iptables", "ip6tables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{hook}");
        if Path::new(&path).exists() {
            fs::write(&path, "0").map_err(|source| NetError::File { path, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchNetns;
    use crate::veth;

    #[test]
    fn a_bridge_forwards_at_once_and_is_made_once() {
        let scratch = ScratchNetns::new();
        ensure(&scratch, "br0").unwrap();
        ensure(&scratch, "br0").unwrap();
        let shown = scratch.ip(&["-d", "link", "show", "br0"]).unwrap();
        assert!(shown.contains("forward_delay 0"), "{shown}");
        assert!(shown.contains("stp_state 0"), "{shown}");
        assert!(link::find(&scratch, "br0").unwrap().unwrap().is_up());
        assert_eq!(list(&scratch).unwrap(), ["br0"]);
    }

    #[test]
    fn a_bridge_keeps_its_address_whoever_comes_and_goes() {
        let scratch = ScratchNetns::new();
        ensure(&scratch, "br0").unwrap();
        let address = || link::find(&scratch, "br0").unwrap().unwrap().address;
        let before = address();
        veth::ensure(&scratch, "v0", &scratch, "v1").unwrap();
        // Lower than any address that a bridge makes up for itself.
        scratch
            .ip(&["link", "set", "dev", "v0", "address", "02:00:00:00:00:01"])
            .unwrap();
        attach(&scratch, "br0", "v0").unwrap();
        assert_eq!(address(), before);
        veth::remove(&scratch, "v0").unwrap();
        assert_eq!(address(), before);
    }

    #[test]
    fn ports_are_attached_moved_and_listed() {
        let scratch = ScratchNetns::new();
        ensure(&scratch, "br0").unwrap();
        ensure(&scratch, "br1").unwrap();
        veth::ensure(&scratch, "v0", &scratch, "v1").unwrap();
        attach(&scratch, "br0", "v0").unwrap();
        attach(&scratch, "br0", "v0").unwrap();
        assert_eq!(ports(&scratch, "br0").unwrap(), ["v0"]);
        attach(&scratch, "br1", "v0").unwrap();
        assert!(ports(&scratch, "br0").unwrap().is_empty());
        remove(&scratch, "br1").unwrap();
        remove(&scratch, "br1").unwrap();
        assert_eq!(list(&scratch).unwrap(), ["br0"]);
    }

    #[test]
    fn a_name_taken_by_something_else_is_refused() {
        let scratch = ScratchNetns::new();
        veth::ensure(&scratch, "br0", &scratch, "v1").unwrap();
        let error = ensure(&scratch, "br0").unwrap_err();
        assert!(error.to_string().contains("no bridge"), "{error}");
    }
}
