//! IPv4 addresses and the default route of an interface.

use std::net::Ipv4Addr;

use serde::Deserialize;

use crate::command::NetError;
use crate::netns::Netns;

#[derive(Deserialize)]
struct Shown {
    #[serde(default, rename = "ifname")]
    interface: String,
    #[serde(default)]
    addr_info: Vec<ShownAddress>,
}

#[derive(Deserialize)]
struct ShownAddress {
    local: Option<Ipv4Addr>,
    prefixlen: u8,
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the network part, 0 to 32.
    pub prefix: u8,
}

impl Cidr {
    /// An address in a network with that many prefix bits.
    #[must_use]
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address, prefix }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Gives an interface an address; one that it has already is left.
///
/// # Errors
/// As [`crate::command::run`].
pub fn ensure(netns: &Netns, interface: &str, cidr: Cidr) -> Result<(), NetError> {
    if list(netns, interface)?.contains(&cidr) {
        return Ok(());
    }
    netns
        .ip(&[
            "address",
            "replace",
            &cidr.to_string(),
            "broadcast",
            "+",
            "dev",
            interface,
        ])
        .map(drop)
}

/// The IPv4 addresses of an interface.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn list(netns: &Netns, interface: &str) -> Result<Vec<Cidr>, NetError> {
    let shown: Vec<Shown> = netns.ip_json(&["-4", "address", "show", "dev", interface])?;
    Ok(shown
        .into_iter()
        .flat_map(Shown::addresses)
        .map(|(_, cidr)| cidr)
        .collect())
}

/// All IPv4 addresses of a namespace, each with its interface.
///
/// # Errors
/// As [`crate::command::run_json`].
pub fn all(netns: &Netns) -> Result<Vec<(String, Cidr)>, NetError> {
    let shown: Vec<Shown> = netns.ip_json(&["-4", "address", "show"])?;
    Ok(shown.into_iter().flat_map(Shown::addresses).collect())
}

impl Shown {
    fn addresses(self) -> impl Iterator<Item = (String, Cidr)> {
        let Self {
            interface,
            addr_info,
        } = self;
        addr_info
            .into_iter()
            .filter_map(move |one| Some((interface.clone(), Cidr::new(one.local?, one.prefixlen))))
    }
}

/// Sets the default route.
///
/// # Errors
/// As [`crate::command::run`].
pub fn default_route(netns: &Netns, gateway: Ipv4Addr) -> Result<(), NetError> {
    netns
        .ip(&["route", "replace", "default", "via", &gateway.to_string()])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchNetns;
    use crate::{bridge, link};

    #[test]
    fn an_address_is_given_once() {
        let scratch = ScratchNetns::new();
        link::set_up(&scratch, "lo").unwrap();
        bridge::ensure(&scratch, "br0").unwrap();
        let cidr = Cidr::new(Ipv4Addr::new(10, 1, 2, 3), 24);
        ensure(&scratch, "br0", cidr).unwrap();
        ensure(&scratch, "br0", cidr).unwrap();
        assert_eq!(list(&scratch, "br0").unwrap(), [cidr]);
        assert!(all(&scratch).unwrap().contains(&("br0".into(), cidr)));
        default_route(&scratch, Ipv4Addr::new(10, 1, 2, 1)).unwrap();
        default_route(&scratch, Ipv4Addr::new(10, 1, 2, 1)).unwrap();
        assert!(
            scratch
                .ip(&["route"])
                .unwrap()
                .contains("default via 10.1.2.1")
        );
    }
}
