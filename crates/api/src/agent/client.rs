//! Calls to a host's agent, by the manager and by other agents.

use super::{
    AbortRequest, Changes, ClockReading, DefineRequest, IncomingReply, IncomingRequest,
    MigrationView, OutgoingRequest, PageStoreReport, Phase, PowerRequest, TemplateRequest, VmView,
};
use crate::http::{CALL, CallError, Http, POLL_SLACK};
use godwit_model::host::{HostFacts, HostStats};
use godwit_model::ids::{HostId, MigrationId, VmId};
use godwit_tls::{Expect, Identity, KeyedCert};
use reqwest::Method;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// How long making disks may take: a full copy or an import is as long as its image.
const DISKS: Duration = Duration::from_secs(4 * 3600);

const NOTHING: Option<&()> = None;

/// One host's agent. Cheap to clone; connections are kept.
#[derive(Debug, Clone)]
pub struct AgentClient {
    http: Http,
}

impl AgentClient {
    /// A client of the agent of `host` at `address`, showing `own`. The certificate that
    /// answers must be that agent's.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn new(
        address: SocketAddr,
        host: &HostId,
        own: &KeyedCert,
        ca_pem: &str,
    ) -> Result<Self, CallError> {
        godwit_tls::install_provider();
        let expect = Expect::Exactly(Identity::Agent(host.to_string()));
        let tls = godwit_tls::config::client(ca_pem, Some(own), expect)
            .map_err(|error| CallError::Setup(error.to_string()))?;
        Ok(Self {
            http: Http::new(address, "/v1", tls, None)?,
        })
    }

    /// What the host is and offers.
    ///
    /// # Errors
    /// As all calls: no answer, or a refusal with its reason.
    pub async fn host(&self) -> Result<HostFacts, CallError> {
        self.get("/host").await
    }

    /// The host's newest figures.
    ///
    /// # Errors
    /// No answer.
    pub async fn stats(&self) -> Result<HostStats, CallError> {
        self.get("/stats").await
    }

    /// What the host's page store holds.
    ///
    /// # Errors
    /// No answer, or the store cannot be read.
    pub async fn pages(&self) -> Result<PageStoreReport, CallError> {
        self.get("/pages").await
    }

    /// Empties the host's page store.
    ///
    /// # Errors
    /// No answer, or the store cannot be removed.
    pub async fn empty_pages(&self) -> Result<(), CallError> {
        self.http
            .call(Method::DELETE, "/pages", NOTHING, CALL)
            .await
    }

    /// The host's clock.
    ///
    /// # Errors
    /// No answer.
    pub async fn clock(&self) -> Result<ClockReading, CallError> {
        self.get("/clock").await
    }

    /// VM changes after `since`; waits up to `wait` for one.
    ///
    /// # Errors
    /// No answer.
    pub async fn changes(&self, since: u64, wait: Duration) -> Result<Changes, CallError> {
        let path = format!("/changes?since={since}&wait={}", wait.as_secs());
        self.http
            .call(Method::GET, &path, NOTHING, wait + POLL_SLACK)
            .await
    }

    /// Every VM on the host.
    ///
    /// # Errors
    /// No answer.
    pub async fn vms(&self) -> Result<Vec<VmView>, CallError> {
        self.get("/vms").await
    }

    /// One VM.
    ///
    /// # Errors
    /// It is not on this host.
    pub async fn vm(&self, id: VmId) -> Result<VmView, CallError> {
        self.get(&format!("/vms/{id}")).await
    }

    /// Makes a VM: directory, disks, definition. The same request twice is one VM.
    ///
    /// # Errors
    /// Refused, no room, or there is another VM of this id.
    pub async fn define(&self, request: &DefineRequest) -> Result<VmView, CallError> {
        let path = format!("/vms/{}", request.definition.id);
        self.http
            .call(Method::PUT, &path, Some(request), DISKS)
            .await
    }

    /// Removes a stopped VM and its files.
    ///
    /// # Errors
    /// It runs, or the storage refuses.
    pub async fn delete(&self, id: VmId) -> Result<(), CallError> {
        self.http
            .call(Method::DELETE, &format!("/vms/{id}"), NOTHING, CALL)
            .await
    }

    /// Starts, stops, pauses a VM; answers when it is done.
    ///
    /// # Errors
    /// Not possible in its state, the claim was lost, QEMU says no.
    pub async fn power(&self, id: VmId, request: &PowerRequest) -> Result<VmView, CallError> {
        let limit = match request {
            PowerRequest::Stop { grace_seconds } => {
                CALL + Duration::from_secs(u64::from(*grace_seconds))
            }
            _ => CALL * 2,
        };
        self.http
            .call(
                Method::POST,
                &format!("/vms/{id}/power"),
                Some(request),
                limit,
            )
            .await
    }

    /// Copies an image into a datastore as a template.
    ///
    /// # Errors
    /// The image is not readable, no room, or there is a template of this name.
    pub async fn put_template(&self, request: &TemplateRequest) -> Result<(), CallError> {
        let path = format!("/templates/{}", request.template.name);
        self.http
            .call(Method::PUT, &path, Some(request), DISKS)
            .await
    }

    /// Removes a template.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn delete_template(&self, name: &str, datastore: &str) -> Result<(), CallError> {
        let path = format!("/templates/{name}?datastore={datastore}");
        self.http.call(Method::DELETE, &path, NOTHING, CALL).await
    }

    /// Prepares the host for a VM that will arrive.
    ///
    /// # Errors
    /// What is missing here, by name; nothing is left behind.
    pub async fn incoming(&self, request: &IncomingRequest) -> Result<IncomingReply, CallError> {
        self.http
            .call(
                Method::POST,
                "/migrations/incoming",
                Some(request),
                CALL * 2,
            )
            .await
    }

    /// Starts to move a VM away from the host.
    ///
    /// # Errors
    /// The VM is not here or does not run.
    pub async fn outgoing(&self, request: &OutgoingRequest) -> Result<MigrationView, CallError> {
        self.http
            .call(Method::POST, "/migrations/outgoing", Some(request), CALL)
            .await
    }

    /// Where a migration stands; with `known`, waits up to `wait` for another phase.
    ///
    /// # Errors
    /// The host knows no such migration.
    pub async fn migration(
        &self,
        id: MigrationId,
        known: Option<Phase>,
        wait: Duration,
    ) -> Result<MigrationView, CallError> {
        let known = known
            .map(|phase| format!("known={}&", phase.as_str()))
            .unwrap_or_default();
        let path = format!("/migrations/{id}?{known}wait={}", wait.as_secs());
        self.http
            .call(Method::GET, &path, NOTHING, wait + POLL_SLACK)
            .await
    }

    /// Tells the destination to give up.
    ///
    /// # Errors
    /// Refused once the claim was asked for.
    pub async fn abort(&self, id: MigrationId, reason: &str) -> Result<(), CallError> {
        let body = AbortRequest {
            reason: reason.to_owned(),
        };
        self.post(&format!("/migrations/{id}/abort"), Some(&body))
            .await
    }

    /// Asks the source to end a migration.
    ///
    /// # Errors
    /// Refused after release.
    pub async fn cancel(&self, id: MigrationId) -> Result<(), CallError> {
        self.post(&format!("/migrations/{id}/cancel"), NOTHING)
            .await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.http.call(Method::GET, path, NOTHING, CALL).await
    }

    async fn post<Q: Serialize>(&self, path: &str, body: Option<&Q>) -> Result<(), CallError> {
        self.http.call(Method::POST, path, body, CALL).await
    }
}
