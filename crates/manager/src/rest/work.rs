//! `/tasks`, `/events`, `/audit`.

use super::Farm;
use super::error::Refusal;
use super::extract::{Id, Query};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use godwit_api::error::ApiError;
use godwit_api::farm::AuditRecord;
use godwit_model::ids::TaskId;
use godwit_model::task::{FarmEvent, Task, TaskState};
use hyper::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;

/// Rows given unless asked otherwise.
const DEFAULT_LIMIT: u32 = 100;
/// Rows given at most.
const MAX_LIMIT: u32 = 10_000;
/// Seconds that a long poll may wait.
const MAX_WAIT: u64 = 60;

/// How many rows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Limit {
    /// At most so many rows (100 unless given, 10,000 at most).
    limit: Option<u32>,
}

impl Limit {
    pub(super) fn limit(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }
}

/// What is known of a task, and how long to wait for news.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Known {
    /// The state that is known.
    state: Option<TaskState>,
    /// The percentage that is known.
    percent: Option<u8>,
    /// Seconds to wait for the task to differ from both (60 at most).
    wait: Option<u64>,
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// Events with a greater number, oldest first; absent: the newest.
    since: Option<u64>,
    /// At most so many (100 unless given, 10,000 at most).
    limit: Option<u32>,
}

/// The newest tasks, newest first.
#[utoipa::path(get, path = "/tasks", params(Limit), security(("token" = [])),
    responses((status = 200, body = [Task]), (status = "default", body = ApiError)))]
pub(super) async fn list(
    State(farm): Farm,
    caller: Caller,
    Query(query): Query<Limit>,
) -> Result<Json<Vec<Task>>, Refusal> {
    Ok(Json(farm.tasks(&caller, query.limit())?))
}

/// One task; with `wait`, answers when it differs from what is known.
#[utoipa::path(get, path = "/tasks/{id}", params(("id" = String, Path), Known),
    security(("token" = [])),
    responses((status = 200, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn show(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<TaskId>,
    Query(known): Query<Known>,
) -> Result<Json<Task>, Refusal> {
    let wait = Duration::from_secs(known.wait.unwrap_or(0).min(MAX_WAIT));
    let is_known = |task: &Task| {
        known.state.is_some_and(|state| state == task.state)
            && known.percent.is_none_or(|percent| percent == task.percent)
    };
    Ok(Json(farm.task(&caller, id, is_known, wait).await?))
}

/// Asks a task to end. It ends if it still can; its state says so then.
#[utoipa::path(post, path = "/tasks/{id}/cancel", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 204), (status = "default", body = ApiError)))]
pub(super) async fn cancel(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<TaskId>,
) -> Result<StatusCode, Refusal> {
    farm.cancel_task(&caller, id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Events.
#[utoipa::path(get, path = "/events", params(Since), security(("token" = [])),
    responses((status = 200, body = [FarmEvent]), (status = "default", body = ApiError)))]
pub(super) async fn events(
    State(farm): Farm,
    caller: Caller,
    Query(query): Query<Since>,
) -> Result<Json<Vec<FarmEvent>>, Refusal> {
    let limit = Limit { limit: query.limit }.limit();
    Ok(Json(farm.events(&caller, query.since, limit)?))
}

/// The newest lines of the audit log, oldest first.
#[utoipa::path(get, path = "/audit", params(Limit), security(("token" = [])),
    responses((status = 200, body = [AuditRecord]), (status = "default", body = ApiError)))]
pub(super) async fn audit(
    State(farm): Farm,
    caller: Caller,
    Query(query): Query<Limit>,
) -> Result<Json<Vec<AuditRecord>>, Refusal> {
    Ok(Json(farm.audit_log(&caller, query.limit())?))
}
