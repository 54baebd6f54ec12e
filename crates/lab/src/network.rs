//! The lab's switches and cables.
//!
//! ```text
//!   gw-mgmt 10.77.0.1 ─── gwb1m ══ eth0 10.77.0.11            ┐
//!   gw-prod 192.168.1.1 ─ gwb1p ══ eth1 ─ br-prod 192.168.1.201 ┘ in the namespace gw-blade1
//!                             └ shaped here towards the blade; the other way the agent shapes eth1
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use godwit_net::address::{self, Cidr};
use godwit_net::{NetError, Netns, bridge, htb, link, netns, veth};

use crate::error::LabError;
use crate::folder::Description;
use crate::plan::{Blade, MANAGEMENT_CARD, Plan, SHARED_CARD, SWITCH};
use crate::spec::{Spec, Subnet};

const MARK: &str = "godwit lab ";

/// Whether the lab's switches are there.
#[must_use]
pub fn is_there(spec: &Spec, plan: &Plan) -> bool {
    owner(&plan.management_switch).is_some_and(|dir| dir == spec.dir.display().to_string())
}

/// Whether the names belong to a lab in another folder: then nothing may be taken away by them.
#[must_use]
pub fn is_anothers(spec: &Spec, plan: &Plan) -> bool {
    owner(&plan.management_switch).is_some_and(|dir| dir != spec.dir.display().to_string())
}

/// Refuses when another lab, or anything else, has the names or addresses.
///
/// # Errors
/// [`LabError::Another`], [`LabError::Overlap`].
pub fn check_free(spec: &Spec, plan: &Plan) -> Result<(), LabError> {
    let own = spec.dir.display().to_string();
    let switches = [&plan.management_switch, &plan.production_switch];
    for switch in switches {
        refuse_another(switch, &own)?;
    }
    let networks = [
        (spec.management, "--management-network"),
        (spec.production, "--production-network"),
    ];
    for (interface, cidr) in address::all(&Netns::Here)? {
        if switches.contains(&&interface) {
            continue;
        }
        let hit = networks
            .iter()
            .find(|(network, _)| network.overlaps(cidr.address, cidr.prefix));
        if let Some((network, option)) = hit {
            refuse_another(&interface, &own)?;
            let (network, taken) = (network.to_string(), cidr.to_string());
            return Err(LabError::Overlap {
                network,
                taken,
                interface,
                option,
            });
        }
    }
    Ok(())
}

fn refuse_another(interface: &str, own: &str) -> Result<(), LabError> {
    match owner(interface) {
        Some(dir) if dir != own => Err(LabError::Another { dir }),
        _ => Ok(()),
    }
}

/// The folder of the lab that an interface belongs to.
fn owner(interface: &str) -> Option<String> {
    let link = link::find(&Netns::Here, interface).ok()??;
    Some(link.alias?.strip_prefix(MARK)?.to_owned())
}

/// Makes the two switches.
///
/// # Errors
/// [`LabError::Net`].
pub fn make_switches(description: &Description) -> Result<(), LabError> {
    let (spec, plan) = (&description.spec, &description.plan);
    let switches = [
        (&plan.management_switch, spec.management),
        (&plan.production_switch, spec.production),
    ];
    for (name, network) in switches {
        bridge::ensure(&Netns::Here, name)?;
        link::set_alias(&Netns::Here, name, &format!("{MARK}{}", spec.dir.display()))?;
        set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        address::ensure(
            &Netns::Here,
            name,
            Cidr::new(network.gateway(), Subnet::PREFIX),
        )?;
    }
    Ok(())
}

/// Makes a blade's namespace, cards and virtual switch.
///
/// # Errors
/// [`LabError::Net`].
pub fn make_blade(description: &Description, blade: &Blade) -> Result<(), LabError> {
    let (spec, plan) = (&description.spec, &description.plan);
    let inside = netns::ensure(&blade.netns)?;
    inside.run(quieten)??;
    link::set_up(&inside, "lo")?;
    plug(
        &plan.management_switch,
        &blade.management_port,
        &inside,
        MANAGEMENT_CARD,
    )?;
    plug(
        &plan.production_switch,
        &blade.shared_port,
        &inside,
        SHARED_CARD,
    )?;
    address::ensure(
        &inside,
        MANAGEMENT_CARD,
        Cidr::new(blade.management, Subnet::PREFIX),
    )?;
    address::default_route(&inside, spec.management.gateway())?;
    bridge::ensure(&inside, SWITCH)?;
    bridge::attach(&inside, SWITCH, SHARED_CARD)?;
    address::ensure(&inside, SWITCH, Cidr::new(blade.migration, Subnet::PREFIX))?;
    match spec.bandwidth {
        Some(bandwidth) => htb::limit_card(&Netns::Here, &blade.shared_port, bandwidth)?,
        None => htb::free_card(&Netns::Here, &blade.shared_port)?,
    }
    Ok(())
}

fn plug(switch: &str, port: &str, inside: &Netns, card: &str) -> Result<(), NetError> {
    veth::ensure(&Netns::Here, port, inside, card)?;
    bridge::attach(&Netns::Here, switch, port)?;
    // A port needs no address of its own: without this it would announce itself by IPv6.
    netns_switch(&format!("/proc/sys/net/ipv6/conf/{port}/disable_ipv6"), "1")
}

/// In a blade: no IPv6, which would fill quiet cards with announcements; no filter that drops what arrives on one card
/// for the address of the other; no packet filter of the machine's in the switch.
fn quieten() -> Result<(), NetError> {
    for name in ["all", "default"] {
        netns_switch(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        netns_switch(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")?;
    }
    bridge::bypass_packet_filter()
}

fn netns_switch(path: &str, value: &str) -> Result<(), NetError> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| NetError::File {
        path: path.into(),
        source,
    })
}

fn set(path: &str, value: &str) -> Result<(), LabError> {
    netns_switch(path, value).map_err(LabError::from)
}

/// The machine's switches of the kernel's that the lab changes, with their present values: the packet filter must not
/// decide what crosses the lab's switches (a Docker host drops it).
#[must_use]
pub fn changed_switches() -> Vec<(PathBuf, String)> {
    let hooks = ["arptables", "iptables", "ip6tables"];
    let paths =
        hooks.map(|hook| PathBuf::from(format!("/proc/sys/net/bridge/bridge-nf-call-{hook}")));
    let read = |path: PathBuf| {
        fs::read_to_string(&path)
            .ok()
            .map(|value| (path, value.trim().to_owned()))
    };
    paths.into_iter().filter_map(read).collect()
}

/// Takes cables, namespaces and switches away, whatever is left of them. All are tried; the first error is returned.
///
/// # Errors
/// [`LabError::Net`].
pub fn remove(description: &Description) -> Result<(), LabError> {
    let plan = &description.plan;
    let mut results = Vec::new();
    for blade in &plan.blades {
        results.push(veth::remove(&Netns::Here, &blade.management_port));
        results.push(veth::remove(&Netns::Here, &blade.shared_port));
        results.push(netns::remove(&blade.netns));
    }
    for switch in [&plan.management_switch, &plan.production_switch] {
        results.push(bridge::remove(&Netns::Here, switch));
    }
    for (path, value) in &description.switches {
        let path = path.display().to_string();
        results.push(netns_switch(&path, value));
    }
    results
        .into_iter()
        .collect::<Result<(), NetError>>()
        .map_err(LabError::from)
}
