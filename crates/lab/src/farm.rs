//! The lab as a client of its own manager: waits for it, lets the blades join, waits until they are there.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use godwit_api::farm::Connection;
use godwit_api::farm::client::FarmClient;
use tokio::time::{Instant, sleep};

use crate::config::MANAGER_PORT;
use crate::error::LabError;
use crate::exec;
use crate::folder::{Description, Folder, write_whole};
use crate::plan::{Blade, MANAGER_BOX};
use crate::up::{Progress, Stop};

/// How long the manager, and then the agents, may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where `godwit agent join` looks for its token.
const JOIN_TOKEN: &str = "GODWIT_JOIN_TOKEN";
const LOOK: Duration = Duration::from_millis(100);

/// How to reach the lab's manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Where it answers.
    pub address: SocketAddr,
    /// The farm CA's certificate.
    pub ca: PathBuf,
    /// The administrator's token.
    pub token: PathBuf,
}

impl Access {
    /// For a lab.
    #[must_use]
    pub fn new(description: &Description, folder: &Folder) -> Self {
        let manager = folder.manager();
        Self {
            address: SocketAddr::from((description.spec.management.gateway(), MANAGER_PORT)),
            ca: manager.join("ca.pem"),
            token: manager.join("admin.token"),
        }
    }

    /// A client; an error as long as the manager has not written its files.
    ///
    /// # Errors
    /// [`LabError::File`], [`LabError::Manager`].
    pub fn client(&self) -> Result<FarmClient, LabError> {
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(LabError::file("read", path));
        let (ca, token) = (read(&self.ca)?, read(&self.token)?);
        FarmClient::new(self.address, &ca, &token)
            .map_err(|error| LabError::Manager(error.to_string()))
    }
}

/// Waits until the manager answers.
pub(crate) async fn wait_for_manager(
    access: &Access,
    folder: &Folder,
    stop: &Stop,
) -> Result<FarmClient, LabError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        stop.check()?;
        let problem = match access.client() {
            Ok(client) => match client.about().await {
                Ok(_) => return Ok(client),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            let what = format!(
                "the manager does not answer within {} s ({problem})",
                PATIENCE.as_secs()
            );
            return Err(LabError::Process {
                what,
                log: folder.log(MANAGER_BOX),
            });
        }
        sleep(LOOK).await;
    }
}

/// Lets a blade join the farm with a token of its own, once.
pub(crate) async fn join(
    client: &FarmClient,
    access: &Access,
    folder: &Folder,
    blade: &Blade,
    command: &[String],
    stop: &Stop,
) -> Result<(), LabError> {
    let done = folder.of_box(&blade.name).join("joined");
    if done.exists() {
        return Ok(());
    }
    wait_for_box(folder, blade, stop).await?;
    let token = client
        .join_token()
        .await
        .map_err(|error| LabError::Manager(error.to_string()))?;
    let mut argv = command.to_vec();
    argv.extend(["--manager".into(), access.address.to_string()]);
    let (dir, name) = (folder.path().to_owned(), blade.name.clone());
    let output = tokio::task::spawn_blocking(move || {
        exec::output_with_secret(&dir, &name, &argv, JOIN_TOKEN, &token.token)
    })
    .await;
    let output = output.map_err(|error| LabError::Manager(error.to_string()))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("{} could not join the farm: {}", blade.name, said.trim());
        return Err(LabError::Process {
            what,
            log: folder.log(MANAGER_BOX),
        });
    }
    write_whole(&done, b"")
}

/// Waits until a box has set up its view of the file system: before that a command in it would see the machine's.
async fn wait_for_box(folder: &Folder, blade: &Blade, stop: &Stop) -> Result<(), LabError> {
    let deadline = Instant::now() + PATIENCE;
    while !folder.state(&blade.name).exists() {
        stop.check()?;
        if Instant::now() > deadline {
            let what = format!(
                "{} is not set up within {} s",
                blade.name,
                PATIENCE.as_secs()
            );
            return Err(LabError::Process {
                what,
                log: folder.log(&blade.name),
            });
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until the manager says that all blades are up.
pub(crate) async fn wait_for_blades(
    client: &FarmClient,
    description: &Description,
    folder: &Folder,
    progress: Progress<'_>,
    stop: &Stop,
) -> Result<(), LabError> {
    let deadline = Instant::now() + PATIENCE;
    let mut shown = usize::MAX;
    loop {
        stop.check()?;
        let hosts = client.hosts().await.unwrap_or_default();
        let is_up = |blade: &&Blade| {
            hosts
                .iter()
                .any(|host| host.id.to_string() == blade.name && host.connection == Connection::Up)
        };
        let missing: Vec<&Blade> = description
            .plan
            .blades
            .iter()
            .filter(|blade| !is_up(blade))
            .collect();
        let Some(first) = missing.first() else {
            return Ok(());
        };
        if missing.len() != shown {
            shown = missing.len();
            progress(&format!(
                "waiting for {shown} of {} agents",
                description.plan.blades.len()
            ));
        }
        if Instant::now() > deadline {
            let what = format!(
                "the agent of {} is not up within {} s",
                first.name,
                PATIENCE.as_secs()
            );
            return Err(LabError::Process {
                what,
                log: folder.log(&first.name),
            });
        }
        sleep(LOOK).await;
    }
}
