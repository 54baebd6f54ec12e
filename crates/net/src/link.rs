//! What all kinds of interfaces have in common: existing, being up, having a master, an owner's mark, being removed.

use serde::Deserialize;

use crate::command::NetError;
use crate::netns::Netns;

/// The longest name the kernel takes, in bytes.
pub const LONGEST_NAME: usize = 15;

/// One interface as `ip -json -d link` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Its name.
    #[serde(rename = "ifname")]
    pub name: String,
    /// The bridge it is attached to.
    pub master: Option<String>,
    /// UP, LOWER_UP and the like.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Its MAC address, as text.
    #[serde(default)]
    pub address: String,
    /// The note that says whose it is.
    #[serde(rename = "ifalias")]
    pub alias: Option<String>,
    /// Kind and details; absent for physical cards.
    #[serde(rename = "linkinfo")]
    info: Option<Info>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Info {
    #[serde(rename = "info_kind")]
    kind: Option<String>,
}

impl Link {
    /// `bridge`, `veth`, `tun` …; nothing for a physical card.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.info.as_ref()?.kind.as_deref()
    }

    /// Whether it was set up (not whether a cable is in it).
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }
}

/// All interfaces of a namespace.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn list(netns: &Netns) -> Result<Vec<Link>, NetError> {
    netns.ip_json(&["-d", "link", "show"])
}

/// One interface, if it exists.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn find(netns: &Netns, name: &str) -> Result<Option<Link>, NetError> {
    match netns.ip_json::<Vec<Link>>(&["-d", "link", "show", "dev", name]) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a name that the kernel would refuse, before anything is made.
///
/// # Errors
/// [`NetError::Name`].
pub fn check_name(name: &str) -> Result<(), NetError> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name != "." && name != "..";
    if fits
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
    {
        return Ok(());
    }
    Err(NetError::Name { name: name.into() })
}

/// Sets an interface up.
///
/// # Errors
/// As [`crate::command::run`].
pub fn set_up(netns: &Netns, name: &str) -> Result<(), NetError> {
    netns.ip(&["link", "set", "dev", name, "up"]).map(drop)
}

/// Sets an interface down.
///
/// # Errors
/// As [`crate::command::run`].
pub fn set_down(netns: &Netns, name: &str) -> Result<(), NetError> {
    netns.ip(&["link", "set", "dev", name, "down"]).map(drop)
}

/// Writes the owner's mark.
///
/// # Errors
/// As [`crate::command::run`].
pub fn set_alias(netns: &Netns, name: &str, alias: &str) -> Result<(), NetError> {
    netns
        .ip(&["link", "set", "dev", name, "alias", alias])
        .map(drop)
}

/// Removes an interface (of a veth pair both ends go). None there is no error.
///
/// # Errors
/// As [`crate::command::run`].
pub fn remove(netns: &Netns, name: &str) -> Result<(), NetError> {
    match netns.ip(&["link", "delete", "dev", name]) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchNetns;

    #[test]
    fn names_the_kernel_refuses_are_refused_first() {
        for name in ["", ".", "a b", "a/b", "a:b", "sixteen-letters-"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        check_name("fifteen-letters").unwrap();
    }

    #[test]
    fn loopback_is_found_set_up_and_cannot_be_mistaken() {
        let scratch = ScratchNetns::new();
        assert!(!find(&scratch, "lo").unwrap().unwrap().is_up());
        set_up(&scratch, "lo").unwrap();
        let lo = find(&scratch, "lo").unwrap().unwrap();
        assert!(lo.is_up());
        assert_eq!(lo.kind(), None);
        assert_eq!(find(&scratch, "nosuch").unwrap(), None);
        remove(&scratch, "nosuch").unwrap();
    }
}
