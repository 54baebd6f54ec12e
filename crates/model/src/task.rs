//! Tasks (work that takes time) and events (what happened).

use crate::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A piece of work of the manager. Durable: after a restart it is resumed or settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What is done: `vm.clone`, `vm.migrate`, …
    pub kind: String,
    /// To what.
    pub subject: Subject,
    /// Where it stands.
    pub state: TaskState,
    /// 0 to 100.
    pub percent: u8,
    /// The step it is at, for people.
    pub step: String,
    /// What went wrong and what to do, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Id of what it made or did (a VM's, a migration's), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub queued: OffsetDateTime,
    /// When it began.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub started: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub ended: Option<OffsetDateTime>,
}

/// What a task or event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Subject {
    /// `vm`, `host`, `template`, `datastore`, `network`, `farm`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name then.
    pub name: String,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its turn.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Did not work; nothing half-made is left.
    Failed,
    /// Ended by an operator.
    Cancelled,
}

impl TaskState {
    /// Whether nothing more will come.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FarmEvent {
    /// Its number: grows by time, without gaps.
    pub id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `vm.started`, `host.joined`, `migration.ended`, …
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// A sentence for people.
    pub message: String,
    /// The task that it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

/// How much an event matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Error,
}
