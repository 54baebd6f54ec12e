//! What every part of the manager shares.

use crate::config::ManagerConfig;
use crate::keys::FarmKeys;
use crate::live::Live;
use crate::store::{HostRow, Store, StoreError};
use crate::work::{Limits, TaskBoard};
use godwit_api::agent::client::AgentClient;
use godwit_api::farm::Change;
use godwit_api::http::CallError;
use godwit_model::ids::TaskId;
use godwit_model::task::{FarmEvent, Severity, Subject};
use std::sync::Arc;
use time::OffsetDateTime;

/// The manager's parts.
pub struct Core {
    /// How it is set up.
    pub config: ManagerConfig,
    /// What survives it.
    pub store: Store,
    /// What it proves itself by.
    pub keys: FarmKeys,
    /// What it knows right now.
    pub live: Live,
    /// Tasks that have not ended.
    pub board: TaskBoard,
    /// How much may happen at once.
    pub limits: Limits,
}

impl Core {
    /// Reads the farm's state.
    ///
    /// # Errors
    /// The database fails.
    pub fn load(
        config: ManagerConfig,
        store: Store,
        keys: FarmKeys,
    ) -> Result<Arc<Self>, StoreError> {
        let live = Live::load(store.clone(), |row| match agent_client(&keys, row) {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::error!(host = %row.id, %error, "this host cannot be called");
                None
            }
        })?;
        let limits = Limits::new(&config);
        Ok(Arc::new(Self {
            config,
            store,
            keys,
            live,
            board: TaskBoard::default(),
            limits,
        }))
    }

    /// A client of a host's agent.
    ///
    /// # Errors
    /// The manager's certificate cannot be used.
    pub fn client(&self, row: &HostRow) -> Result<AgentClient, CallError> {
        agent_client(&self.keys, row)
    }

    /// Writes down that something happened, and tells everyone who watches. What cannot be
    /// written is logged: no work stops for its event.
    pub fn event(
        &self,
        kind: &str,
        severity: Severity,
        subject: Subject,
        message: impl Into<String>,
        task: Option<TaskId>,
    ) {
        let event = FarmEvent {
            id: 0,
            at: OffsetDateTime::now_utc(),
            kind: kind.to_owned(),
            severity,
            subject,
            message: message.into(),
            task,
        };
        match self.store.append_event(event) {
            Ok(event) => self.live.publish(Change::Event { event }),
            Err(error) => tracing::error!(%error, kind, "an event was not written down"),
        }
    }
}

fn agent_client(keys: &FarmKeys, row: &HostRow) -> Result<AgentClient, CallError> {
    AgentClient::new(row.address, &row.id, &keys.manager, keys.ca.cert_pem())
}

/// The subject of events and tasks about a host.
#[must_use]
pub fn host_subject(id: &godwit_model::ids::HostId) -> Subject {
    Subject {
        kind: "host".into(),
        id: id.to_string(),
        name: id.to_string(),
    }
}

/// The subject of events and tasks about a VM.
#[must_use]
pub fn vm_subject(definition: &godwit_model::vm::VmDefinition) -> Subject {
    Subject {
        kind: "vm".into(),
        id: definition.id.to_string(),
        name: definition.name.clone(),
    }
}
