//! `godwit lab up`: builds the farm step by step. A step that finds its work done does nothing.
//!
//! 1. describe: write `lab.json`; from here on `down` can undo whatever follows
//! 2. network: switches, namespaces, cards
//! 3. manager: start its box, wait until it answers
//! 4. blades: start their boxes, join, start the agents, wait until the manager sees them
//!
//! When a step fails, or is interrupted, everything is taken down again, unless the lab was up before.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use godwit_net::bridge;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;

use crate::config;
use crate::down;
use crate::error::LabError;
use crate::farm::{self, Access};
use crate::folder::{Description, Folder, write_whole};
use crate::mounts;
use crate::network;
use crate::plan::{Blade, MANAGER_BOX, Plan};
use crate::processes;
use crate::sandbox::Sandbox;
use crate::spec::Spec;

/// Says what is being done, for people who wait.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Asks `up` to stop between two steps.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), LabError> {
        if self.0.load(Ordering::Relaxed) {
            Err(LabError::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Builds a lab, or what is missing of it.
///
/// # Errors
/// Any [`LabError`]; then nothing is left of a lab that was not up before, except its files.
pub async fn up(spec: Spec, progress: Progress<'_>, stop: &Stop) -> Result<Description, LabError> {
    spec.check()?;
    let folder = Folder::new(&spec.dir);
    let _lock = folder.lock()?;
    let (description, was_up) = describe(spec, &folder)?;
    let built = build(&description, &folder, progress, stop).await;
    let Err(error) = built else {
        return Ok(description);
    };
    if !was_up {
        progress("taking down what was made");
        down::take_down(&description, &folder)?;
    }
    // Ctrl-C also ends the tools that a step runs: their complaint is not the reason.
    stop.check()?;
    Err(error)
}

/// Step 1. Says also whether the lab is up already.
fn describe(spec: Spec, folder: &Folder) -> Result<(Description, bool), LabError> {
    let plan = Plan::new(&spec, &machine_cores()?);
    network::check_free(&spec, &plan)?;
    let before = folder.description()?;
    let is_up = before
        .as_ref()
        .is_some_and(|before| network::is_there(&before.spec, &before.plan));
    match before {
        Some(before) if is_up => {
            // Another build of the program may look after a lab that this one finds up.
            let programs = before.spec.programs.clone();
            if before.spec != (Spec { programs, ..spec }) {
                let text = "the lab is up with other choices: take it down first, or leave the options out";
                return Err(LabError::Choice(text.into()));
            }
            Ok((before, true))
        }
        _ => {
            let description = Description {
                spec,
                plan,
                switches: network::changed_switches(),
            };
            folder.describe(&description)?;
            Ok((description, false))
        }
    }
}

async fn build(
    description: &Description,
    folder: &Folder,
    progress: Progress<'_>,
    stop: &Stop,
) -> Result<(), LabError> {
    progress("laying cables");
    blocking(description, folder, stop, make_network).await?;
    let programs = &description.spec.programs;
    let access = Access::new(description, folder);
    let mut client = None;
    if programs.manager.is_some() {
        progress("starting the manager");
        blocking(description, folder, stop, start_manager).await?;
        client = Some(farm::wait_for_manager(&access, folder, stop).await?);
    }
    progress("starting the blades");
    blocking(description, folder, stop, start_blades).await?;
    for blade in &description.plan.blades {
        stop.check()?;
        if let (Some(client), Some(command)) = (&client, &programs.join) {
            farm::join(client, &access, folder, blade, command, stop).await?;
        }
        write_whole(&folder.ready(&blade.name), b"")?;
    }
    match &client {
        Some(client) => farm::wait_for_blades(client, description, folder, progress, stop).await,
        None => Ok(()),
    }
}

/// Runs a step that blocks off the threads that serve others.
async fn blocking(
    description: &Description,
    folder: &Folder,
    stop: &Stop,
    step: fn(&Description, &Folder, &Stop) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let (description, folder, stop) = (description.clone(), folder.clone(), stop.clone());
    let work = tokio::task::spawn_blocking(move || step(&description, &folder, &stop));
    work.await.map_err(|error| LabError::System {
        action: "run a step".into(),
        source: io::Error::other(error),
    })?
}

/// Step 2.
fn make_network(description: &Description, _: &Folder, stop: &Stop) -> Result<(), LabError> {
    bridge::bypass_packet_filter()?;
    network::make_switches(description)?;
    for blade in &description.plan.blades {
        stop.check()?;
        network::make_blade(description, blade)?;
    }
    Ok(())
}

/// Step 3, as far as it does not wait.
fn start_manager(description: &Description, folder: &Folder, _: &Stop) -> Result<(), LabError> {
    folder.make(&folder.manager())?;
    config::write(
        &folder.path().join("manager.toml"),
        &config::manager(description, folder)?,
    )?;
    start_box(description, folder, MANAGER_BOX, None)?;
    write_whole(&folder.ready(MANAGER_BOX), b"")
}

/// Step 4, as far as it does not wait.
fn start_blades(description: &Description, folder: &Folder, stop: &Stop) -> Result<(), LabError> {
    for point in mounts::points() {
        folder.make(point)?;
    }
    for blade in &description.plan.blades {
        stop.check()?;
        if processes::find(folder.path(), &blade.name).is_none() {
            mounts::make_sources(folder, description, blade)?;
        }
        let path = folder.of_box(&blade.name).join("etc/agent.toml");
        config::write(&path, &config::agent(description, blade)?)?;
        start_box(description, folder, &blade.name, Some(blade))?;
    }
    Ok(())
}

fn start_box(
    description: &Description,
    folder: &Folder,
    name: &str,
    blade: Option<&Blade>,
) -> Result<(), LabError> {
    if processes::find(folder.path(), name).is_some() {
        return Ok(());
    }
    folder.make(&folder.of_box(name))?;
    folder.make(&folder.path().join("log"))?;
    // A new box says anew what it does; and may not start its program before it has joined.
    for stale in [folder.ready(name), folder.state(name)] {
        match fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::file("remove", &stale)(error));
            }
            _ => {}
        }
    }
    let netns = blade.map(|blade| godwit_net::Netns::named(&blade.netns).path());
    Sandbox {
        dir: folder.path(),
        name,
        log: &folder.log(name),
        netns: netns.as_deref(),
        cores: blade.map_or(&[], |blade| &blade.cores),
    }
    .start(&description.spec.programs.init)
}

/// The cores that this process may use: those of the machine, or of the container that it is in.
fn machine_cores() -> Result<Vec<usize>, LabError> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(LabError::system("ask for the machine's cores"))?;
    Ok((0..nix::sched::CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect())
}
