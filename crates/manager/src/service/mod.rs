//! The one layer that knows the rules: it checks rights, checks requests against the
//! inventory, writes the audit log and starts tasks. REST only translates it, and so will
//! every other face of the manager.

mod hosts;
mod migrations;
mod plan;
mod templates;
mod vms;

use crate::core::Core;
use crate::store::StoreError;
use crate::work::{self, Order};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_api::farm::AuditRecord;
use godwit_model::ids::TaskId;
use godwit_model::task::{FarmEvent, Subject, Task};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name, for the audit log.
    pub name: String,
    /// From where.
    pub from: SocketAddr,
    /// What the caller may do.
    pub right: Right,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Nothing but join, with a join token.
    Nobody,
    /// Everything.
    Administrator,
}

/// The manager's operations.
#[derive(Clone)]
pub struct Service {
    core: Arc<Core>,
}

type Answer<T> = Result<T, ApiError>;

impl Service {
    /// The operations on a farm.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// What all parts share.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Refuses who may not read.
    ///
    /// # Errors
    /// The caller has no right.
    pub fn may_read(&self, caller: &Caller) -> Answer<()> {
        self.require(caller, Right::Administrator)
    }

    fn require(&self, caller: &Caller, right: Right) -> Answer<()> {
        if caller.right >= right {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Unauthenticated,
            "show a token: `Authorization: Bearer …` with the content of the manager's admin.token",
        ))
    }

    /// Carries out a change: checks the right, does it, and writes down who wanted what
    /// and what came of it, also when it was refused.
    fn change<T>(
        &self,
        caller: &Caller,
        action: &str,
        subject: &str,
        work: impl FnOnce() -> Answer<T>,
    ) -> Answer<T> {
        let result = self
            .require(caller, Right::Administrator)
            .and_then(|()| work());
        self.audit(caller, action, subject, result.as_ref().err())?;
        result
    }

    fn audit(
        &self,
        caller: &Caller,
        action: &str,
        subject: &str,
        error: Option<&ApiError>,
    ) -> Answer<()> {
        let record = AuditRecord {
            id: 0,
            at: OffsetDateTime::now_utc(),
            by: caller.name.clone(),
            from: caller.from.to_string(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            result: error.map_or_else(|| "ok".to_owned(), |error| error.message.clone()),
        };
        self.core
            .store
            .append_audit(record)
            .map_err(|error| internal(&error))
    }

    /// Writes an order down as a task and starts it.
    fn submit(&self, caller: &Caller, order: Order, subject: Subject) -> Answer<Task> {
        let name = subject.name.clone();
        work::submit(&self.core, order, subject, &caller.name).map_err(|refused| match refused {
            Ok(task) => ApiError::new(
                ErrorCode::Conflict,
                format!("another task ({task}) holds {name}: wait for it, or cancel it"),
            ),
            Err(error) => internal(&error),
        })
    }

    /// The newest tasks, newest first.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn tasks(&self, caller: &Caller, limit: u32) -> Answer<Vec<Task>> {
        self.may_read(caller)?;
        let rows = self
            .core
            .store
            .tasks(limit)
            .map_err(|error| internal(&error))?;
        Ok(rows.into_iter().map(|row| self.newest(row.task)).collect())
    }

    /// The board knows an open task's progress better than the store.
    fn newest(&self, task: Task) -> Task {
        self.core
            .board
            .watch(task.id)
            .map_or(task, |open| open.borrow().clone())
    }

    /// One task; waits up to `wait` for it to differ from what is known.
    ///
    /// # Errors
    /// No right, or there is none.
    pub async fn task(
        &self,
        caller: &Caller,
        id: TaskId,
        known: impl Fn(&Task) -> bool,
        wait: Duration,
    ) -> Answer<Task> {
        self.may_read(caller)?;
        if let Some(mut open) = self.core.board.watch(id) {
            // A closed channel means that the task has ended: the last value says how.
            let _ = tokio::time::timeout(wait, open.wait_for(|task| !known(task))).await;
            let task = open.borrow().clone();
            return Ok(task);
        }
        let rows = self
            .core
            .store
            .tasks(u32::MAX)
            .map_err(|error| internal(&error))?;
        rows.into_iter()
            .map(|row| row.task)
            .find(|task| task.id == id)
            .ok_or_else(|| not_found("task", &id.to_string()))
    }

    /// Wishes that a task ends.
    ///
    /// # Errors
    /// No right, there is none, or it has ended.
    pub fn cancel_task(&self, caller: &Caller, id: TaskId) -> Answer<()> {
        self.change(caller, "task.cancel", &id.to_string(), || {
            if self.core.board.cancel(id) {
                return Ok(());
            }
            Err(ApiError::new(
                ErrorCode::Conflict,
                format!("task {id} has ended, or is not known"),
            ))
        })
    }

    /// Events after `since`, or the newest.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn events(
        &self,
        caller: &Caller,
        since: Option<u64>,
        limit: u32,
    ) -> Answer<Vec<FarmEvent>> {
        self.may_read(caller)?;
        self.core
            .store
            .events(since, limit)
            .map_err(|error| internal(&error))
    }

    /// The newest lines of the audit log.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn audit_log(&self, caller: &Caller, limit: u32) -> Answer<Vec<AuditRecord>> {
        self.may_read(caller)?;
        self.core
            .store
            .audit(limit)
            .map_err(|error| internal(&error))
    }
}

fn internal(error: &StoreError) -> ApiError {
    if let StoreError::NameTaken(_) = error {
        return ApiError::new(ErrorCode::Conflict, error.to_string());
    }
    tracing::error!(%error, cause = ?error, "the manager's state cannot be used");
    ApiError::new(ErrorCode::Internal, error.to_string())
}

fn not_found(kind: &str, id: &str) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("there is no {kind} `{id}`: `godwit {kind} list` shows those there are"),
    )
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Refused, message)
}
