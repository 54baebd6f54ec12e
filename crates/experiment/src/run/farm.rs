//! The farm as the test uses it: its two hosts, the template, the VMs to be made.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use godwit_api::farm::client::FarmClient;
use godwit_api::farm::{Connection, HostView, TemplateInfo};
use godwit_dvdstore::connect::parse_url;
use godwit_model::host::CardRole;
use godwit_model::ids::HostId;
use godwit_model::task::{Task, TaskState};
use tokio_postgres::Config;

use crate::profile::Profile;
use crate::raw::HostInfo;
use crate::records::Part;
use crate::run::error::{Asked, RunError};
use crate::run::own;
use crate::schedule::Side;

/// A manager that is being restarted is waited for this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything a run is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to run.
    pub profile: Profile,
    /// Seed of orders, schedule and bootstrap.
    pub seed: u64,
    /// Folder of the run.
    pub out: PathBuf,
    /// The parts to run.
    pub parts: Vec<Part>,
    /// The two hosts; empty: the first two that are up, by name.
    pub hosts: Vec<String>,
    /// Names of the VMs are this, a dash and a number.
    pub prefix: String,
    /// Address of the first VM; the others follow. Part 2 uses those after part 1's, so that no
    /// neighbour remembers the VMs of part 1.
    pub first_address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_length: u8,
    /// The VMs' gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Datastores that the VMs are laid on in turn; empty: the template's.
    pub datastores: Vec<String>,
    /// How long a VM may take from power-on until it answers queries.
    pub ready_within: Duration,
    /// Leave the VMs of the last part.
    pub keep: bool,
}

impl Options {
    /// The defaults for a profile.
    #[must_use]
    pub fn new(profile: Profile, out: PathBuf) -> Self {
        Self {
            profile,
            seed: 1,
            out,
            parts: vec![Part::Baseline, Part::Migrating],
            hosts: Vec::new(),
            prefix: "shop".to_owned(),
            first_address: Ipv4Addr::new(192, 168, 1, 11),
            prefix_length: 24,
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
            datastores: Vec::new(),
            ready_within: Duration::from_secs(600),
            keep: false,
        }
    }
}

/// One of the two hosts.
#[derive(Debug, Clone)]
pub struct TestHost {
    /// Its id, which is its name.
    pub id: HostId,
    /// Its cores.
    pub cores: u32,
    /// Whether its clock is this process' clock.
    pub shares_clock: bool,
    /// The card that carries migrations.
    pub card: Option<String>,
    /// What the report says of it.
    pub info: HostInfo,
}

/// One VM of the test.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its number from 0, which picks its orders.
    pub number: u32,
    /// Where it starts.
    pub side: Side,
    /// Its address.
    pub address: Ipv4Addr,
    /// How its database is reached.
    pub database: Config,
}

/// The farm, looked at.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The manager.
    pub client: FarmClient,
    /// The two hosts.
    pub hosts: [TestHost; 2],
    /// Name of the template.
    pub template: String,
}

impl Bench {
    /// Looks at the farm and chooses hosts and template.
    ///
    /// # Errors
    /// The manager does not answer, or there are not two hosts or no fitting template.
    pub async fn find(client: FarmClient, options: &Options) -> Result<Self, RunError> {
        let hosts = client.hosts().await.asked(|| "listing the hosts".into())?;
        let templates = client
            .templates()
            .await
            .asked(|| "listing the templates".into())?;
        Ok(Self {
            hosts: choose_hosts(&hosts, &options.hosts)?,
            template: choose_template(&templates, &options.profile)?,
            client,
        })
    }

    /// Waits for a task and makes its failure an error.
    ///
    /// # Errors
    /// The task failed or the manager is gone.
    pub async fn done(&self, task: Task, what: impl Fn() -> String) -> Result<Task, RunError> {
        let task = self
            .client
            .wait_task(task, PATIENCE, |_| {})
            .await
            .asked(&what)?;
        if task.state == TaskState::Succeeded {
            return Ok(task);
        }
        let reason = task
            .error
            .unwrap_or_else(|| format!("the task was {}", task.state));
        Err(RunError::Task {
            what: what(),
            reason,
        })
    }
}

/// The VMs of a part.
///
/// # Errors
/// There are not enough addresses.
pub fn guests(options: &Options, part: Part) -> Result<Vec<Guest>, RunError> {
    let vms = options.profile.vms;
    let offset = if part == Part::Migrating { vms } else { 0 };
    let [.., first] = options.first_address.octets();
    if u32::from(first) + 2 * vms > 201 {
        let most = (201 - u32::from(first)) / 2;
        return Err(RunError::Farm(format!(
            "addresses from {} on suffice for {most} VMs, since both parts need their own",
            options.first_address
        )));
    }
    (0..vms)
        .map(|number| {
            let address = Ipv4Addr::from(u32::from(options.first_address) + offset + number);
            Ok(Guest {
                name: format!("{}-{:02}", options.prefix, number + 1),
                number,
                side: Side::at_start(number as usize),
                address,
                database: parse_url(&format!("postgresql://ds2:ds2@{address}:5432/ds2"))?,
            })
        })
        .collect()
}

fn choose_hosts(all: &[HostView], wanted: &[String]) -> Result<[TestHost; 2], RunError> {
    let mut up: Vec<&HostView> = all
        .iter()
        .filter(|h| h.connection == Connection::Up && h.facts.is_some())
        .filter(|h| wanted.is_empty() || wanted.iter().any(|w| w == h.id.as_str()))
        .collect();
    up.sort_by(|a, b| a.id.cmp(&b.id));
    let names: Vec<&str> = up.iter().map(|h| h.id.as_str()).collect();
    if !wanted.is_empty() && up.len() < 2 {
        return Err(RunError::Farm(format!(
            "the hosts {} are not both up; up are: {}",
            wanted.join(" and "),
            names.join(", ")
        )));
    }
    let [a, b, ..] = up.as_slice() else {
        return Err(RunError::Farm(
            "two hosts must be up; see `godwit host list`".into(),
        ));
    };
    Ok([test_host(a), test_host(b)])
}

fn test_host(view: &HostView) -> TestHost {
    let facts = view.facts.as_ref();
    let card = facts.and_then(|f| {
        f.cards
            .iter()
            .find(|c| c.roles.contains(&CardRole::Migration))
    });
    TestHost {
        id: view.id.clone(),
        cores: facts.map_or(1, |f| f.cores.max(1)),
        shares_clock: facts.is_some_and(|f| f.boot_id == own::boot_id()),
        card: card.map(|c| c.name.clone()),
        info: HostInfo {
            name: view.id.to_string(),
            cores: facts.map_or(1.0, |f| f64::from(f.cores)),
            qemu: facts.map_or_else(String::new, |f| f.qemu_version.clone()),
            accelerator: facts.map_or_else(String::new, |f| f.accelerator.clone()),
        },
    }
}

/// The template asked for by name; else the only one; else the one named after the database's size.
fn choose_template(all: &[TemplateInfo], profile: &Profile) -> Result<String, RunError> {
    let names: Vec<&str> = all.iter().map(|t| t.template.name.as_str()).collect();
    let wanted = profile.template.as_str();
    let size = profile.database.to_ascii_lowercase();
    let sized: Vec<&&str> = names
        .iter()
        .filter(|n| n.to_ascii_lowercase().contains(&size))
        .collect();
    if !wanted.is_empty() {
        let found = names.iter().find(|n| **n == wanted);
        return found.map(|n| (*n).to_owned()).ok_or_else(|| {
            RunError::Farm(format!(
                "there is no template {wanted:?}; there are: {}",
                names.join(", ")
            ))
        });
    }
    match (names.as_slice(), sized.as_slice()) {
        ([], _) => Err(RunError::Farm(
            "there is no template; make one with `godwit image build` and `godwit template create`"
                .into(),
        )),
        ([only], _) => Ok((*only).to_owned()),
        (_, [one]) => Ok((**one).to_owned()),
        _ => Err(RunError::Farm(format!(
            "choose one of the templates with --template: {}",
            names.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProfileName;

    fn options(vms: u32) -> Options {
        let profile = Profile {
            vms,
            ..Profile::named(ProfileName::Demo)
        };
        Options::new(profile, PathBuf::from("out"))
    }

    #[test]
    fn parts_use_the_same_names_and_other_addresses() {
        let [a, b] = [Part::Baseline, Part::Migrating].map(|p| guests(&options(20), p).unwrap());
        assert_eq!(a[0].address, Ipv4Addr::new(192, 168, 1, 11));
        assert_eq!(b[0].address, Ipv4Addr::new(192, 168, 1, 31));
        assert!(
            a.iter()
                .zip(&b)
                .all(|(x, y)| x.name == y.name && x.number == y.number)
        );
        assert!(a.iter().all(|x| b.iter().all(|y| x.address != y.address)));
        let first = a.iter().filter(|g| g.side == Side::First).count();
        assert_eq!(first, 10);
    }

    #[test]
    fn too_many_vms_for_the_addresses_are_refused() {
        assert!(guests(&options(95), Part::Baseline).is_ok());
        assert!(
            guests(&options(96), Part::Baseline)
                .unwrap_err()
                .to_string()
                .contains("95 VMs")
        );
    }
}
