//! `godwit lab status`: what of the lab is there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use godwit_net::htb::Bandwidth;
use serde::Serialize;

use crate::config::AGENT_PORT;
use crate::error::LabError;
use crate::farm::Access;
use crate::folder::{Description, Folder};
use crate::init::State;
use crate::network;
use crate::plan::{Blade, DATASTORES, MANAGEMENT_CARD, MANAGER_BOX, SHARED_CARD};
use crate::processes;
use crate::storage::{self, Mode};

/// How long a port may take to answer before it counts as closed.
const KNOCK: Duration = Duration::from_millis(500);

/// The lab as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether its switches are there.
    pub network: bool,
    /// The manager; none in a lab without one.
    pub manager: Option<ManagerStatus>,
    /// The blades.
    pub blades: Vec<BladeStatus>,
    /// Where the datastores' files are.
    pub datastores: Vec<DatastoreStatus>,
}

impl Status {
    /// Whether everything is there and answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let manager = self.manager.as_ref().is_none_or(|manager| manager.answers);
        self.network
            && manager
            && self
                .blades
                .iter()
                .all(|blade| blade.pid.is_some() && blade.program.program.is_some())
    }
}

/// The manager as it is, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagerStatus {
    /// Its box's first process, while there is one.
    pub pid: Option<i32>,
    /// What that says of the manager.
    pub program: State,
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it does.
    pub answers: bool,
    /// The farm CA's certificate.
    pub ca: PathBuf,
    /// The administrator's token.
    pub token: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// A blade as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BladeStatus {
    /// Its name.
    pub name: String,
    /// Its first process, while there is one.
    pub pid: Option<i32>,
    /// What that says of the agent.
    pub program: State,
    /// Whether the agent's port is open.
    pub answers: bool,
    /// Processes in the blade.
    pub processes: usize,
    /// VMs among them.
    pub vms: usize,
    /// Its cores.
    pub cores: Vec<usize>,
    /// Its namespace, for `ip netns exec`.
    pub netns: String,
    /// Its cards.
    pub cards: [CardStatus; 2],
    /// How its datastores behave; empty where they cannot be made to fail.
    pub storage: BTreeMap<&'static str, Mode>,
    /// Its log.
    pub log: PathBuf,
}

/// A card of a blade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardStatus {
    /// Its name in the blade.
    pub name: String,
    /// Its address, or that of the virtual switch on it.
    pub address: std::net::Ipv4Addr,
    /// The other end of its cable.
    pub port: String,
    /// What it is for.
    pub role: &'static str,
    /// Its rate, if it is shaped.
    pub bandwidth: Option<Bandwidth>,
}

/// A datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatastoreStatus {
    /// Its name.
    pub name: String,
    /// Its files on the machine.
    pub path: PathBuf,
}

/// Looks at the lab in a folder.
///
/// # Errors
/// [`LabError::NotUp`] when none was made there.
pub fn status(dir: &Path) -> Result<Status, LabError> {
    let folder = Folder::new(dir);
    let description = folder
        .description()?
        .ok_or_else(|| LabError::NotUp { dir: dir.into() })?;
    let Description { spec, plan, .. } = &description;
    let datastore = |name: &str| DatastoreStatus {
        name: name.into(),
        path: folder.datastore(spec, name),
    };
    Ok(Status {
        dir: dir.to_owned(),
        network: network::is_there(spec, plan),
        manager: spec
            .programs
            .manager
            .as_ref()
            .map(|_| manager(&description, &folder)),
        blades: plan
            .blades
            .iter()
            .map(|blade| of_blade(&description, &folder, blade))
            .collect(),
        datastores: DATASTORES.into_iter().map(datastore).collect(),
    })
}

fn manager(description: &Description, folder: &Folder) -> ManagerStatus {
    let Access { address, ca, token } = Access::new(description, folder);
    let init = processes::find(folder.path(), MANAGER_BOX);
    let program = program(folder, MANAGER_BOX, init.is_some());
    let pid = init.map(|init| init.pid);
    ManagerStatus {
        pid,
        program,
        address,
        answers: pid.is_some() && knock(address),
        ca,
        token,
        log: folder.log(MANAGER_BOX),
    }
}

fn of_blade(description: &Description, folder: &Folder, blade: &Blade) -> BladeStatus {
    let init = processes::find(folder.path(), &blade.name);
    let is_alive = init.is_some();
    let members = init.as_ref().map(processes::members).unwrap_or_default();
    let card = |name: &str, address, port: &String, role, bandwidth| CardStatus {
        name: name.into(),
        address,
        port: port.clone(),
        role,
        bandwidth,
    };
    let bandwidth = description.spec.bandwidth;
    let mode = |name| Some((name, storage::mode(folder.path(), &blade.name, name).ok()?));
    BladeStatus {
        name: blade.name.clone(),
        program: program(folder, &blade.name, is_alive),
        pid: init.map(|init| init.pid),
        answers: is_alive && knock(SocketAddr::from((blade.management, AGENT_PORT))),
        processes: members.len(),
        vms: members
            .iter()
            .filter(|member| member.command.starts_with("qemu-system"))
            .count(),
        cores: blade.cores.clone(),
        netns: blade.netns.clone(),
        storage: DATASTORES.into_iter().filter_map(mode).collect(),
        cards: [
            card(
                MANAGEMENT_CARD,
                blade.management,
                &blade.management_port,
                "management",
                None,
            ),
            card(
                SHARED_CARD,
                blade.migration,
                &blade.shared_port,
                "vm, migration",
                bandwidth,
            ),
        ],
        log: folder.log(&blade.name),
    }
}

/// What a box's first process says of its program; nothing when there is none to say it.
fn program(folder: &Folder, name: &str, alive: bool) -> State {
    let said = alive.then(|| fs::read(folder.state(name)).ok()).flatten();
    said.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// Only for boxes that live: without the lab's network its addresses may be somebody else's.
fn knock(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, KNOCK).is_ok()
}
