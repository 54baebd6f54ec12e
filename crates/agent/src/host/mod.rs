//! What all parts of the agent share: one host, with its configuration, its lease, its
//! processes and what it shows.

pub mod datastore;
pub mod facts;
pub mod network;

use crate::answer::{Answer, Tell, blocking};
use crate::board::Board;
use crate::config::AgentConfig;
use crate::identity::HostIdentity;
use crate::migration::Migrations;
use crate::processes::Processes;
use crate::record::Records;
use crate::vm::Registry;
use facts::Hardware;
use godwit_api::agent::PeerRef;
use godwit_api::agent::client::AgentClient;
use godwit_api::error::ErrorCode;
use godwit_lease::{DatastoreLease, Lease, VmHome};
use godwit_model::host::HostStats;
use godwit_model::vm::VmDefinition;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// One host. Made once at start-up, shared by everything.
pub struct Host {
    /// What the administrator decided.
    pub config: AgentConfig,
    /// Who this host is.
    pub identity: HostIdentity,
    /// The godwit binary: keeper and relays are commands of it.
    pub exe: PathBuf,
    /// What QEMU and the machine offer.
    pub hardware: Hardware,
    /// Who may run what.
    pub lease: Arc<DatastoreLease>,
    /// QEMU processes.
    pub processes: Processes,
    /// What is remembered of VMs.
    pub records: Records,
    /// What is shown.
    pub board: Board,
    /// The VMs' actors.
    pub registry: Registry,
    /// Migrations, under way and ended.
    pub migrations: Migrations,
    /// The newest figures.
    pub stats: watch::Sender<Option<Arc<HostStats>>>,
}

impl Host {
    /// A VM's home on its datastore.
    ///
    /// # Errors
    /// Refused if this host has no such datastore.
    pub fn home(&self, definition: &VmDefinition) -> Answer<VmHome> {
        let path = datastore::path_of(&self.config, &definition.datastore)?;
        Ok(VmHome::new(path, definition.id))
    }

    /// A client of another host's agent.
    ///
    /// # Errors
    /// If this host's own identity cannot be used.
    pub fn peer(&self, peer: &PeerRef) -> Answer<AgentClient> {
        AgentClient::new(
            peer.address,
            &peer.id,
            &self.identity.agent,
            &self.identity.ca_pem,
        )
        .told(ErrorCode::Internal)
    }

    /// Asks the lease something, on a thread where it may block.
    ///
    /// # Errors
    /// What the lease said.
    pub async fn lease<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Lease) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let lease = Arc::clone(&self.lease);
        blocking(move || ask(&*lease)).await
    }
}
