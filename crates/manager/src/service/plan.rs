//! Where things go: pure choices over what the hosts said of themselves.

use super::{Answer, invalid, refused};
use crate::live::{LiveHost, LiveVm};
use godwit_api::farm::Connection;
use godwit_model::host::{HostFacts, PROTOCOL_VERSION};
use godwit_model::ids::HostId;
use godwit_model::units::Bytes;
use godwit_model::vm::VmDefinition;

/// Memory that a host keeps for itself and for QEMU's own needs.
const RESERVE: Bytes = Bytes::mib(512);

/// The host for a VM: the one asked for, else of those that can run it the one with the
/// most memory not promised.
pub(super) fn host_for<'a>(
    hosts: &'a [LiveHost],
    vms: &[LiveVm],
    definition: &VmDefinition,
    wanted: Option<&HostId>,
) -> Answer<&'a LiveHost> {
    if let Some(id) = wanted {
        let host = hosts
            .iter()
            .find(|host| host.row.id == *id)
            .ok_or_else(|| super::not_found("host", id.as_str()))?;
        return match obstacle(host, vms, definition) {
            None => Ok(host),
            Some(why) => Err(refused(format!(
                "{} cannot go to {id}: {why}",
                definition.name
            ))),
        };
    }
    let (able, unable): (Vec<_>, Vec<_>) = hosts
        .iter()
        .map(|host| (host, obstacle(host, vms, definition)))
        .partition(|(_, why)| why.is_none());
    able.into_iter()
        .map(|(host, _)| host)
        .max_by_key(|host| room(host, vms))
        .ok_or_else(|| {
            let why: Vec<_> = unable
                .iter()
                .map(|(host, why)| {
                    format!("{}: {}", host.row.id, why.as_deref().unwrap_or_default())
                })
                .collect();
            let reasons = if why.is_empty() {
                "no host has joined".to_owned()
            } else {
                why.join("; ")
            };
            refused(format!("no host can run {}: {reasons}", definition.name))
        })
}

/// Why a host cannot run a VM, by name; `None` if it can.
pub(super) fn obstacle(host: &LiveHost, vms: &[LiveVm], vm: &VmDefinition) -> Option<String> {
    if host.connection != Connection::Up {
        return Some("it does not answer".to_owned());
    }
    let Some(facts) = &host.row.facts else {
        return Some("it has not said what it offers yet".to_owned());
    };
    missing(facts, vm).or_else(|| {
        let free = room(host, vms);
        (free < i128::from(vm.memory.0)).then(|| {
            let free = Bytes(u64::try_from(free).unwrap_or(0));
            format!("{} of memory is needed, {free} is not promised", vm.memory)
        })
    })
}

/// What a host lacks for a VM.
fn missing(facts: &HostFacts, vm: &VmDefinition) -> Option<String> {
    if facts.protocol != PROTOCOL_VERSION {
        return Some(format!(
            "its agent speaks protocol {}, the manager {PROTOCOL_VERSION}: upgrade the older",
            facts.protocol
        ));
    }
    if !facts.machines.contains(&vm.machine) {
        return Some(format!("its QEMU has no machine type {}", vm.machine));
    }
    if !facts.cpu_models.contains(&vm.cpu_model) {
        return Some(format!("its CPU does not offer model {}", vm.cpu_model));
    }
    if let Some(name) = vm.datastores().into_iter().find(|name| {
        !facts
            .datastores
            .iter()
            .any(|one| one.name == **name && one.error.is_none())
    }) {
        return Some(format!("it does not see datastore {name}"));
    }
    let nic = vm
        .nics
        .iter()
        .find(|nic| !facts.networks.contains(&nic.network))?;
    Some(format!("it has no network {}", nic.network))
}

/// A datastore of the VM that is not the same at both hosts, although both call it so:
/// its file there would be another one, or none.
pub(super) fn foreign_datastore<'a>(
    source: &HostFacts,
    destination: &HostFacts,
    vm: &'a VmDefinition,
) -> Option<&'a str> {
    let uuid = |facts: &HostFacts, name: &str| {
        let store = facts.datastores.iter().find(|store| store.name == name);
        store.map(|store| store.uuid.clone())
    };
    vm.datastores()
        .into_iter()
        .find(|name| uuid(source, name) != uuid(destination, name))
}

/// Memory of a host that is not promised to a VM; below nought if too much is.
fn room(host: &LiveHost, vms: &[LiveVm]) -> i128 {
    let total = host.row.facts.as_ref().map_or(0, |facts| facts.memory.0);
    let promised: u64 = vms
        .iter()
        .filter(|vm| vm.row.host == host.row.id)
        .map(|vm| vm.row.definition.memory.0)
        .sum();
    i128::from(total) - i128::from(promised) - i128::from(RESERVE.0)
}

/// The datastore for new files: the one asked for, else the one with the most room that
/// every host sees.
pub(super) fn datastore_for(hosts: &[LiveHost], wanted: Option<&str>) -> Answer<String> {
    let facts: Vec<_> = hosts
        .iter()
        .filter_map(|host| host.row.facts.as_ref())
        .collect();
    let seen = |name: &str| {
        facts
            .iter()
            .filter(|f| f.datastores.iter().any(|store| store.name == name))
            .count()
    };
    if let Some(name) = wanted {
        return if seen(name) > 0 {
            Ok(name.to_owned())
        } else {
            Err(super::not_found("datastore", name))
        };
    }
    facts
        .iter()
        .flat_map(|facts| &facts.datastores)
        .max_by_key(|store| (seen(&store.name), store.free))
        .map(|store| store.name.clone())
        .ok_or_else(|| refused("no host has a datastore: add one to the hosts' configuration"))
}

/// The network for a card: the one asked for, else the only one there is.
pub(super) fn network_for(hosts: &[LiveHost], wanted: Option<&str>) -> Answer<String> {
    let all: std::collections::BTreeSet<&String> = hosts
        .iter()
        .filter_map(|host| host.row.facts.as_ref())
        .flat_map(|f| &f.networks)
        .collect();
    match wanted {
        Some(name) if all.iter().any(|known| *known == name) => Ok(name.to_owned()),
        Some(name) => Err(super::not_found("network", name)),
        None => {
            let mut names = all.into_iter();
            match (names.next(), names.next()) {
                (Some(only), None) => Ok(only.clone()),
                (None, _) => Err(refused(
                    "no host has a network: add a switch to the hosts' configuration",
                )),
                _ => Err(invalid(
                    "there are several networks: say which with --network",
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::vm;
    use godwit_model::host::DatastoreFacts;
    use godwit_model::vm::{DEFAULT_CPU_MODEL, DEFAULT_MACHINE};

    fn facts() -> HostFacts {
        HostFacts {
            id: "blade1".parse().expect("a name"),
            godwit_version: "0".into(),
            protocol: PROTOCOL_VERSION,
            boot_id: "x".into(),
            cores: 1,
            memory: Bytes::gib(4),
            qemu_version: "10.0".into(),
            accelerator: "tcg".into(),
            cpu_models: vec![DEFAULT_CPU_MODEL.into()],
            machines: vec![DEFAULT_MACHINE.into()],
            datastores: vec![DatastoreFacts {
                name: "SAN1".into(),
                path: "/datastores/SAN1".into(),
                uuid: "one".into(),
                total: Bytes::gib(10),
                free: Bytes::gib(5),
                error: None,
            }],
            networks: vec!["production".into()],
            cards: Vec::new(),
            migration_address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn what_a_host_lacks_is_named() {
        type Spoil = fn(&mut HostFacts);
        let cases: [(Spoil, &str); 5] = [
            (|f| f.protocol += 1, "protocol"),
            (|f| f.machines.clear(), DEFAULT_MACHINE),
            (|f| f.cpu_models.clear(), DEFAULT_CPU_MODEL),
            (|f| f.datastores[0].error = Some("stale".into()), "SAN1"),
            (|f| f.networks.clear(), "production"),
        ];
        assert_eq!(missing(&facts(), &vm()), None);
        for (spoil, named) in cases {
            let mut host = facts();
            spoil(&mut host);
            let why = missing(&host, &vm()).expect("is refused");
            assert!(why.contains(named), "{why}");
        }
    }

    #[test]
    fn a_datastore_of_the_same_name_is_not_the_same() {
        let (source, mut destination) = (facts(), facts());
        assert_eq!(foreign_datastore(&source, &destination, &vm()), None);
        destination.datastores[0].uuid = "two".into();
        assert_eq!(
            foreign_datastore(&source, &destination, &vm()),
            Some("SAN1")
        );
    }
}
