//! Calls to the manager, by the command line, the lab, experiments and joining hosts.

use super::{
    About, AuditRecord, ChangeVm, CloneVm, CreateTemplate, CreateVm, DatastoreInfo, EchoReport,
    HostView, JoinReply, JoinRequest, JoinToken, Migrate, MigrationInfo, NetworkInfo, Power,
    TemplateInfo, VmInfo,
};
use crate::agent::PageStoreReport;
use crate::http::{CALL, CallError, Http, POLL_SLACK};
use godwit_model::host::HostStats;
use godwit_model::ids::{HostId, MigrationId, TaskId};
use godwit_model::task::{FarmEvent, Task};
use godwit_tls::{Expect, Fingerprint, Identity};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use std::net::SocketAddr;
use std::time::Duration;

const NOTHING: Option<&()> = None;
const PREFIX: &str = "/api/v1";

/// The manager of a farm. Cheap to clone; connections are kept.
#[derive(Debug, Clone)]
pub struct FarmClient {
    http: Http,
}

impl FarmClient {
    /// A client that trusts the farm's CA and shows a token.
    ///
    /// # Errors
    /// The CA certificate cannot be read.
    pub fn new(address: SocketAddr, ca_pem: &str, token: &str) -> Result<Self, CallError> {
        godwit_tls::install_provider();
        let tls = godwit_tls::config::client(ca_pem, None, Expect::Exactly(Identity::Manager))
            .map_err(|error| CallError::Setup(error.to_string()))?;
        Ok(Self {
            http: Http::new(address, PREFIX, tls, Some(token.trim().to_owned()))?,
        })
    }

    /// A client that knows only the CA's fingerprint, from a join token: good for
    /// [`join`](Self::join).
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn joining(address: SocketAddr, ca: Fingerprint) -> Result<Self, CallError> {
        godwit_tls::install_provider();
        let tls = godwit_tls::config::joining_client(ca, Expect::Exactly(Identity::Manager))
            .map_err(|error| CallError::Setup(error.to_string()))?;
        Ok(Self {
            http: Http::new(address, PREFIX, tls, None)?,
        })
    }

    /// What the manager is.
    ///
    /// # Errors
    /// As all calls: no answer, or a refusal with its reason.
    pub async fn about(&self) -> Result<About, CallError> {
        self.get("/about").await
    }

    /// A new join token.
    ///
    /// # Errors
    /// Not allowed.
    pub async fn join_token(&self) -> Result<JoinToken, CallError> {
        self.post("/join-tokens", NOTHING).await
    }

    /// Joins the farm as a host.
    ///
    /// # Errors
    /// The token is not good, or the host is known already.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinReply, CallError> {
        self.post("/join", Some(request)).await
    }

    /// Every host.
    ///
    /// # Errors
    /// No answer.
    pub async fn hosts(&self) -> Result<Vec<HostView>, CallError> {
        self.get("/hosts").await
    }

    /// One host.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn host(&self, id: &HostId) -> Result<HostView, CallError> {
        self.get(&format!("/hosts/{id}")).await
    }

    /// What a host's page store holds.
    ///
    /// # Errors
    /// There is no such host, or it does not answer.
    pub async fn host_pages(&self, id: &HostId) -> Result<PageStoreReport, CallError> {
        self.get(&format!("/hosts/{id}/pages")).await
    }

    /// Empties a host's page store.
    ///
    /// # Errors
    /// No answer, no right, or the host does not answer.
    pub async fn empty_host_pages(&self, id: &HostId) -> Result<(), CallError> {
        self.delete(&format!("/hosts/{id}/pages")).await
    }

    /// A host's newest figures.
    ///
    /// # Errors
    /// As all calls: no answer, or a refusal with its reason.
    pub async fn host_stats(&self, id: &HostId) -> Result<HostStats, CallError> {
        self.get(&format!("/hosts/{id}/stats")).await
    }

    /// Forgets a host without VMs.
    ///
    /// # Errors
    /// It has VMs.
    pub async fn remove_host(&self, id: &HostId) -> Result<(), CallError> {
        self.delete(&format!("/hosts/{id}")).await
    }

    /// Every VM.
    ///
    /// # Errors
    /// No answer.
    pub async fn vms(&self) -> Result<Vec<VmInfo>, CallError> {
        self.get("/vms").await
    }

    /// One VM, by id or name.
    ///
    /// # Errors
    /// There is none.
    pub async fn vm(&self, vm: &str) -> Result<VmInfo, CallError> {
        self.get(&format!("/vms/{}", segment(vm))).await
    }

    /// Makes a VM.
    ///
    /// # Errors
    /// The request is wrong, or the name is taken; later errors are the task's.
    pub async fn create_vm(&self, request: &CreateVm) -> Result<Task, CallError> {
        self.post("/vms", Some(request)).await
    }

    /// Clones a template.
    ///
    /// # Errors
    /// The request is wrong, or the name is taken; later errors are the task's.
    pub async fn clone_vm(&self, request: &CloneVm) -> Result<Task, CallError> {
        self.post("/vms/clone", Some(request)).await
    }

    /// Switches a VM's power.
    ///
    /// # Errors
    /// There is no such VM, or another task holds it.
    pub async fn power(&self, vm: &str, request: &Power) -> Result<Task, CallError> {
        self.post(&format!("/vms/{}/power", segment(vm)), Some(request))
            .await
    }

    /// Changes what is kept of a VM.
    ///
    /// # Errors
    /// There is none, or a value makes no sense.
    pub async fn change_vm(&self, vm: &str, request: &ChangeVm) -> Result<VmInfo, CallError> {
        let path = format!("/vms/{}", segment(vm));
        self.http
            .call(Method::PATCH, &path, Some(request), CALL)
            .await
    }

    /// Moves a running VM.
    ///
    /// # Errors
    /// It cannot move: the reason, by name; later errors are the task's.
    pub async fn migrate(&self, vm: &str, request: &Migrate) -> Result<Task, CallError> {
        self.post(&format!("/vms/{}/migrate", segment(vm)), Some(request))
            .await
    }

    /// Deletes a stopped VM and its files.
    ///
    /// # Errors
    /// It runs, or another task holds it.
    pub async fn delete_vm(&self, vm: &str) -> Result<Task, CallError> {
        self.http
            .call(
                Method::DELETE,
                &format!("/vms/{}", segment(vm)),
                NOTHING,
                CALL,
            )
            .await
    }

    /// Every template.
    ///
    /// # Errors
    /// No answer.
    pub async fn templates(&self) -> Result<Vec<TemplateInfo>, CallError> {
        self.get("/templates").await
    }

    /// Makes a template from an image.
    ///
    /// # Errors
    /// The name is taken; later errors are the task's.
    pub async fn create_template(&self, request: &CreateTemplate) -> Result<Task, CallError> {
        self.post("/templates", Some(request)).await
    }

    /// Removes a template.
    ///
    /// # Errors
    /// Linked clones need it.
    pub async fn delete_template(&self, name: &str) -> Result<Task, CallError> {
        self.http
            .call(
                Method::DELETE,
                &format!("/templates/{}", segment(name)),
                NOTHING,
                CALL,
            )
            .await
    }

    /// Every datastore.
    ///
    /// # Errors
    /// No answer.
    pub async fn datastores(&self) -> Result<Vec<DatastoreInfo>, CallError> {
        self.get("/datastores").await
    }

    /// Every network.
    ///
    /// # Errors
    /// No answer.
    pub async fn networks(&self) -> Result<Vec<NetworkInfo>, CallError> {
        self.get("/networks").await
    }

    /// The newest migrations, newest first.
    ///
    /// # Errors
    /// No answer.
    pub async fn migrations(&self, limit: u32) -> Result<Vec<MigrationInfo>, CallError> {
        self.get(&format!("/migrations?limit={limit}")).await
    }

    /// One migration, with its receipt after the end.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn migration(&self, id: MigrationId) -> Result<MigrationInfo, CallError> {
        self.get(&format!("/migrations/{id}")).await
    }

    /// Puts what an echo probe saw into a migration's receipt.
    ///
    /// # Errors
    /// The migration has not ended.
    pub async fn report_echo(&self, id: MigrationId, seen: EchoReport) -> Result<(), CallError> {
        self.http
            .call(
                Method::PUT,
                &format!("/migrations/{id}/echo"),
                Some(&seen),
                CALL,
            )
            .await
    }

    /// The newest tasks, newest first.
    ///
    /// # Errors
    /// No answer.
    pub async fn tasks(&self, limit: u32) -> Result<Vec<Task>, CallError> {
        self.get(&format!("/tasks?limit={limit}")).await
    }

    /// One task; with a `wait`, answers when it differs from `known` or the time is over.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn task(
        &self,
        id: TaskId,
        known: Option<&Task>,
        wait: Duration,
    ) -> Result<Task, CallError> {
        let known = known
            .map(|task| format!("state={}&percent={}&", task.state, task.percent))
            .unwrap_or_default();
        let path = format!("/tasks/{id}?{known}wait={}", wait.as_secs());
        self.http
            .call(Method::GET, &path, NOTHING, wait + POLL_SLACK)
            .await
    }

    /// Waits until a task has ended, calling `seen` at each step. A manager that is being
    /// restarted is waited for, up to `patience` at a time.
    ///
    /// # Errors
    /// The manager gave no answer for as long as `patience`.
    pub async fn wait_task(
        &self,
        mut task: Task,
        patience: Duration,
        mut seen: impl FnMut(&Task),
    ) -> Result<Task, CallError> {
        let mut silent_since = None;
        seen(&task);
        while !task.state.is_final() {
            match self
                .task(task.id, Some(&task), Duration::from_secs(10))
                .await
            {
                Ok(next) => {
                    task = next;
                    silent_since = None;
                    seen(&task);
                }
                Err(error @ CallError::NoAnswer { .. }) => {
                    let since = *silent_since.get_or_insert_with(std::time::Instant::now);
                    if since.elapsed() > patience {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(task)
    }

    /// Asks a task to end.
    ///
    /// # Errors
    /// It is past the point where it can.
    pub async fn cancel_task(&self, id: TaskId) -> Result<(), CallError> {
        self.post(&format!("/tasks/{id}/cancel"), NOTHING).await
    }

    /// Events after `since`, oldest first; without it the newest.
    ///
    /// # Errors
    /// No answer.
    pub async fn events(
        &self,
        since: Option<u64>,
        limit: u32,
    ) -> Result<Vec<FarmEvent>, CallError> {
        let since = since.map(|id| format!("since={id}&")).unwrap_or_default();
        self.get(&format!("/events?{since}limit={limit}")).await
    }

    /// The newest lines of the audit log, oldest first.
    ///
    /// # Errors
    /// No answer.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, CallError> {
        self.get(&format!("/audit?limit={limit}")).await
    }

    /// The OpenAPI description.
    ///
    /// # Errors
    /// No answer.
    pub async fn openapi(&self) -> Result<serde_json::Value, CallError> {
        self.get("/openapi.json").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.http.call(Method::GET, path, NOTHING, CALL).await
    }

    async fn post<Q: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Q>,
    ) -> Result<T, CallError> {
        self.http.call(Method::POST, path, body, CALL).await
    }

    async fn delete(&self, path: &str) -> Result<(), CallError> {
        self.http.call(Method::DELETE, path, NOTHING, CALL).await
    }
}

/// A name as one segment of a path.
fn segment(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("db1.x"), "db1.x");
        assert_eq!(segment("../a b?"), "..%2Fa%20b%3F");
    }
}
