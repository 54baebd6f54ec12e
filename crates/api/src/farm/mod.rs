//! The manager's REST API, under `/api/v1`: what people and scripts ask of the farm.
//!
//! | call | meaning |
//! |---|---|
//! | `GET /hosts`, `GET /hosts/{id}`, `DELETE /hosts/{id}` | [`HostView`] |
//! | `GET /hosts/{id}/pages`, `DELETE /hosts/{id}/pages` | [`PageStoreReport`](crate::agent::PageStoreReport); empties it |
//! | `GET /hosts/{id}/stats` | [`HostStats`](godwit_model::host::HostStats) |
//! | `POST /join-tokens` | → [`JoinToken`] |
//! | `POST /join` (no token but the join token) | [`JoinRequest`] → [`JoinReply`] |
//! | `GET /vms`, `GET /vms/{id}` | [`VmInfo`] |
//! | `POST /vms` | [`CreateVm`] → task |
//! | `POST /vms/clone` | [`CloneVm`] → task |
//! | `PATCH /vms/{id}` | [`ChangeVm`] → [`VmInfo`] |
//! | `POST /vms/{id}/power` | [`Power`] → task |
//! | `POST /vms/{id}/migrate` | [`Migrate`] → task |
//! | `DELETE /vms/{id}` | → task |
//! | `GET /templates`, `POST /templates`, `DELETE /templates/{name}` | [`TemplateInfo`], [`CreateTemplate`] |
//! | `GET /datastores`, `GET /networks` | [`DatastoreInfo`], [`NetworkInfo`] |
//! | `GET /migrations`, `GET /migrations/{id}` | [`MigrationInfo`] with its receipt |
//! | `PUT /migrations/{id}/echo` | [`EchoReport`]: what a probe saw, into the receipt |
//! | `GET /tasks?state=`, `GET /tasks/{id}?known=&wait=` | [`Task`](godwit_model::task::Task) |
//! | `POST /tasks/{id}/cancel` | asks a task to end |
//! | `GET /events?since=&limit=` | [`FarmEvent`](godwit_model::task::FarmEvent) |
//! | `GET /audit?limit=` | [`AuditRecord`] |
//! | `GET /changes` | server-sent [`Change`]s |
//! | `GET /about`, `GET /openapi.json` | [`About`], the description |
//!
//! Everything that takes time answers `202` with the [`Task`](godwit_model::task::Task).
//! VMs may be named by id or by name wherever `{id}` of a VM stands.

pub mod client;
mod host;
mod vm;

pub use host::*;
pub use vm::*;

use godwit_model::task::{FarmEvent, Task};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// The port that the manager listens on.
pub const MANAGER_PORT: u16 = 7440;

/// What the manager is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// `godwit`.
    pub name: String,
    /// Version of Godwit.
    pub version: String,
    /// An id of this farm, made at its first start.
    pub farm: String,
}

/// One line of the audit log: who did what, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Grows by time.
    pub id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who.
    pub by: String,
    /// From which address.
    pub from: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// `ok`, or why it was refused.
    pub result: String,
}

/// One entry of the change feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// A VM is new or different.
    Vm {
        /// The VM now.
        vm: VmInfo,
    },
    /// A VM is no more.
    VmGone {
        /// Its id.
        id: String,
    },
    /// A host is new or different.
    Host {
        /// The host now.
        host: HostView,
    },
    /// A task moved on.
    Task {
        /// The task now.
        task: Task,
    },
    /// Something happened.
    Event {
        /// What.
        event: FarmEvent,
    },
    /// Changes were dropped because the reader was too slow: read everything again.
    Lagged,
}
