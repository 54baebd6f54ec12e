//! The configuration files of the lab's agents and manager, as an administrator would write them.

use std::path::Path;

use serde::Serialize;

use crate::error::LabError;
use crate::folder::{Description, Folder, write_whole};
use crate::mounts::datastore_point;
use crate::plan::{Blade, DATASTORES, MANAGEMENT_CARD, SHARED_CARD, SWITCH};
use crate::spec::Subnet;

/// The port that agents answer on.
pub const AGENT_PORT: u16 = 7443;
/// The port that the manager answers on.
pub const MANAGER_PORT: u16 = godwit_api::farm::MANAGER_PORT;
/// The network that VMs of the lab name.
pub const NETWORK: &str = "production";

#[derive(Serialize)]
struct Agent<'a> {
    id: &'a str,
    listen: String,
    migration_address: String,
    cores: &'a [usize],
    cpu_accounting: &'static str,
    page_store: &'static str,
    cards: [Card; 2],
    switches: [Switch; 1],
    datastores: Vec<Datastore>,
}

#[derive(Serialize)]
struct Card {
    name: &'static str,
    roles: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    mbit: Option<u64>,
}

#[derive(Serialize)]
struct Switch {
    name: &'static str,
    bridge: &'static str,
    uplink: &'static str,
    address: String,
}

#[derive(Serialize)]
struct Datastore {
    name: &'static str,
    path: String,
}

#[derive(Serialize)]
struct Manager {
    listen: String,
    state_dir: String,
}

/// The text of a blade's `/etc/godwit/agent.toml`.
///
/// # Errors
/// [`LabError::Choice`] when a path is no text.
pub fn agent(description: &Description, blade: &Blade) -> Result<String, LabError> {
    let bandwidth = description.spec.bandwidth;
    let datastore = |name| Datastore {
        name,
        path: datastore_point(name).display().to_string(),
    };
    text(&Agent {
        id: &blade.name,
        listen: format!("{}:{AGENT_PORT}", blade.management),
        migration_address: blade.migration.to_string(),
        cores: &blade.cores,
        // All blades share one kernel, whose own figures would count each blade's work for all.
        cpu_accounting: "processes",
        // The blades share one machine's memory and disk.
        page_store: "2G",
        cards: [
            Card {
                name: MANAGEMENT_CARD,
                roles: &["management"],
                mbit: None,
            },
            Card {
                name: SHARED_CARD,
                roles: &["vm", "migration"],
                mbit: bandwidth.map(|bandwidth| bandwidth.bits_per_second() / 1_000_000),
            },
        ],
        switches: [Switch {
            name: NETWORK,
            bridge: SWITCH,
            uplink: SHARED_CARD,
            address: format!("{}/{}", blade.migration, Subnet::PREFIX),
        }],
        datastores: DATASTORES.into_iter().map(datastore).collect(),
    })
}

/// The text of `manager.toml`.
///
/// # Errors
/// [`LabError::Choice`] when a path is no text.
pub fn manager(description: &Description, folder: &Folder) -> Result<String, LabError> {
    text(&Manager {
        listen: format!("{}:{MANAGER_PORT}", description.spec.management.gateway()),
        state_dir: folder.manager().display().to_string(),
    })
}

/// Writes a configuration.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), LabError> {
    let note = "# Written by `godwit lab up`; changes are lost with the next one.\n";
    write_whole(path, format!("{note}{text}").as_bytes())
}

fn text(value: &impl Serialize) -> Result<String, LabError> {
    toml::to_string(value)
        .map_err(|error| LabError::Choice(format!("cannot be written as a configuration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::spec::Spec;

    fn description(change: fn(&mut Spec)) -> Description {
        let mut spec = Spec::new(Path::new("/lab"), Path::new("/godwit"));
        change(&mut spec);
        let plan = Plan::new(&spec, &[0, 1]);
        Description {
            spec,
            plan,
            switches: Vec::new(),
        }
    }

    #[test]
    fn an_agent_is_told_its_place() {
        let description = description(|_| {});
        let text = agent(&description, &description.plan.blades[1]).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["id"].as_str(), Some("blade2"));
        assert_eq!(table["listen"].as_str(), Some("10.77.0.12:7443"));
        assert_eq!(table["cores"].as_array().unwrap()[0].as_integer(), Some(1));
        assert_eq!(table["cards"][1]["mbit"].as_integer(), Some(1_000));
        assert_eq!(
            table["switches"][0]["address"].as_str(),
            Some("192.168.1.202/24")
        );
        assert_eq!(
            table["datastores"][0]["path"].as_str(),
            Some("/datastores/SAN1")
        );
    }

    #[test]
    fn an_unshaped_card_has_no_rate() {
        let description = description(|spec| spec.bandwidth = None);
        let table: toml::Table = agent(&description, &description.plan.blades[0])
            .unwrap()
            .parse()
            .unwrap();
        assert!(table["cards"][1].get("mbit").is_none());
    }

    #[test]
    fn the_manager_answers_on_the_management_network() {
        let text = manager(&description(|_| {}), &Folder::new("/lab")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["listen"].as_str(), Some("10.77.0.1:7440"));
        assert_eq!(table["state_dir"].as_str(), Some("/lab/manager"));
    }
}
