//! Moves VMs through the manager, like any other client of it.

use std::time::Duration;

use godwit_api::agent::MigrationOptions;
use godwit_api::farm::Migrate;
use godwit_api::farm::client::FarmClient;
use godwit_model::ids::HostId;
use godwit_model::migration::receipt::Receipt;
use godwit_model::task::TaskState;

use crate::run::farm::Bench;
use crate::run::moves::{Mover, Names};
use crate::schedule::Side;

/// A manager that is being restarted is waited for this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Moves the VMs of a part.
#[derive(Debug)]
pub struct FarmMover {
    client: FarmClient,
    hosts: [HostId; 2],
    vms: Vec<String>,
}

impl FarmMover {
    /// For the VMs of these names.
    #[must_use]
    pub fn new(bench: &Bench, names: &Names) -> Self {
        Self {
            client: bench.client.clone(),
            hosts: bench.hosts.clone().map(|h| h.id),
            vms: names.vms.clone(),
        }
    }
}

impl Mover for FarmMover {
    async fn place(&self, vm: usize) -> Result<Side, String> {
        let info = self
            .client
            .vm(&self.vms[vm])
            .await
            .map_err(|e| e.to_string())?;
        match self.hosts.iter().position(|host| *host == info.host) {
            Some(0) => Ok(Side::First),
            Some(_) => Ok(Side::Second),
            None => Err(format!("{} is on {}", self.vms[vm], info.host)),
        }
    }

    async fn migrate(&self, vm: usize, to: Side) -> Result<Option<Receipt>, String> {
        let request = Migrate {
            to: self.hosts[to.index()].clone(),
            options: MigrationOptions::default(),
        };
        let task = self
            .client
            .migrate(&self.vms[vm], &request)
            .await
            .map_err(|e| e.to_string())?;
        let task = self
            .client
            .wait_task(task, PATIENCE, |_| {})
            .await
            .map_err(|e| e.to_string())?;
        if task.state != TaskState::Succeeded {
            return Err(task
                .error
                .unwrap_or_else(|| format!("the task was {}", task.state)));
        }
        let Some(Ok(id)) = task.result.as_deref().map(str::parse) else {
            return Ok(None);
        };
        // A receipt that cannot be had is a gap in the table, not a failed migration.
        Ok(self
            .client
            .migration(id)
            .await
            .ok()
            .and_then(|info| info.receipt))
    }
}
