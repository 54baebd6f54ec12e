//! What a host's agent is asked, by the manager and, for migrations, by other agents.
//!
//! | call | who | meaning |
//! |---|---|---|
//! | `GET /v1/host` | manager | [`HostFacts`](godwit_model::host::HostFacts) |
//! | `GET /v1/stats` | manager | [`HostStats`](godwit_model::host::HostStats), the newest |
//! | `GET /v1/clock` | agents | [`ClockReading`]: for the offset of two hosts' clocks |
//! | `GET /v1/changes?since=N&wait=S` | manager | [`Changes`]: VM and migration changes, long poll |
//! | `GET /v1/vms`, `GET /v1/vms/{id}` | manager | [`VmView`] |
//! | `PUT /v1/vms/{id}` | manager | [`DefineRequest`]: writes the definition, makes the disks |
//! | `DELETE /v1/vms/{id}` | manager | removes a stopped VM and its files |
//! | `POST /v1/vms/{id}/power` | manager | [`PowerRequest`] |
//! | `PUT /v1/templates/{name}` | manager | [`TemplateRequest`]: copies an image into a datastore |
//! | `DELETE /v1/templates/{name}?datastore=D` | manager | removes it |
//! | `POST /v1/migrations/incoming` | manager | [`IncomingRequest`] → [`IncomingReply`] |
//! | `POST /v1/migrations/outgoing` | manager | [`OutgoingRequest`] |
//! | `GET /v1/migrations/{id}?known=P&wait=S` | manager, agents | [`MigrationView`]: answers when the phase is no longer P |
//! | `POST /v1/migrations/{id}/abort` | agents | [`AbortRequest`], to the destination |
//! | `POST /v1/migrations/{id}/cancel` | manager | to the source; refused after release |
//! | `GET /metrics` | anybody with a farm certificate | Prometheus text |

pub mod client;
mod migration;
mod pages;
mod vm;

pub use migration::*;
pub use pages::*;
pub use vm::*;

use godwit_model::units::MonoNs;
use serde::{Deserialize, Serialize};

/// The port that agents listen on.
pub const AGENT_PORT: u16 = 7443;

/// A host's clock at the moment it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// Its monotonic clock.
    pub mono: MonoNs,
    /// Its boot id: equal ids mean one clock.
    pub boot_id: String,
}
