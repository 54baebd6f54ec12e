//! `/vms`, `/templates`, `/migrations`.

use super::Farm;
use super::error::Refusal;
use super::extract::{Body, Id, Query};
use super::work::Limit;
use crate::service::Caller;
use axum::Json;
use axum::extract::{Path, State};
use godwit_api::error::ApiError;
use godwit_api::farm::{
    ChangeVm, CloneVm, CreateTemplate, CreateVm, EchoReport, Migrate, MigrationInfo, Power,
    TemplateInfo, VmInfo,
};
use godwit_model::ids::MigrationId;
use godwit_model::task::Task;
use hyper::StatusCode;

type Accepted = Result<(StatusCode, Json<Task>), Refusal>;

#[allow(clippy::unnecessary_wraps)] // the shape that handlers give
fn accepted(task: Task) -> Accepted {
    Ok((StatusCode::ACCEPTED, Json(task)))
}

/// Every VM.
#[utoipa::path(get, path = "/vms", security(("token" = [])),
    responses((status = 200, body = [VmInfo]), (status = "default", body = ApiError)))]
pub(super) async fn list(State(farm): Farm, caller: Caller) -> Result<Json<Vec<VmInfo>>, Refusal> {
    Ok(Json(farm.vms(&caller)?))
}

/// Makes a VM with an empty or imported disk.
#[utoipa::path(post, path = "/vms", request_body = CreateVm, security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn create(
    State(farm): Farm,
    caller: Caller,
    Body(request): Body<CreateVm>,
) -> Accepted {
    accepted(farm.create_vm(&caller, &request)?)
}

/// Clones a template.
#[utoipa::path(post, path = "/vms/clone", request_body = CloneVm, security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn clone_template(
    State(farm): Farm,
    caller: Caller,
    Body(request): Body<CloneVm>,
) -> Accepted {
    accepted(farm.clone_vm(&caller, &request)?)
}

/// One VM, by id or name.
#[utoipa::path(get, path = "/vms/{vm}", params(("vm" = String, Path)), security(("token" = [])),
    responses((status = 200, body = VmInfo), (status = "default", body = ApiError)))]
pub(super) async fn show(
    State(farm): Farm,
    caller: Caller,
    Path(vm): Path<String>,
) -> Result<Json<VmInfo>, Refusal> {
    Ok(Json(farm.vm(&caller, &vm)?))
}

/// Deletes a stopped VM and its files.
#[utoipa::path(delete, path = "/vms/{vm}", params(("vm" = String, Path)), security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn delete(State(farm): Farm, caller: Caller, Path(vm): Path<String>) -> Accepted {
    accepted(farm.delete_vm(&caller, &vm)?)
}

/// Switches a VM's power.
#[utoipa::path(post, path = "/vms/{vm}/power", params(("vm" = String, Path)),
    request_body = Power, security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn power(
    State(farm): Farm,
    caller: Caller,
    Path(vm): Path<String>,
    Body(request): Body<Power>,
) -> Accepted {
    accepted(farm.power(&caller, &vm, &request)?)
}

/// Changes what is kept of a VM beside what it is.
#[utoipa::path(patch, path = "/vms/{vm}", params(("vm" = String, Path)),
    request_body = ChangeVm, security(("token" = [])),
    responses((status = 200, body = VmInfo), (status = "default", body = ApiError)))]
pub(super) async fn change(
    State(farm): Farm,
    caller: Caller,
    Path(vm): Path<String>,
    Body(request): Body<ChangeVm>,
) -> Result<Json<VmInfo>, Refusal> {
    Ok(Json(farm.change_vm(&caller, &vm, &request)?))
}

/// Moves a running VM.
#[utoipa::path(post, path = "/vms/{vm}/migrate", params(("vm" = String, Path)),
    request_body = Migrate, security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn migrate(
    State(farm): Farm,
    caller: Caller,
    Path(vm): Path<String>,
    Body(request): Body<Migrate>,
) -> Accepted {
    accepted(farm.migrate(&caller, &vm, &request)?)
}

/// Every template.
#[utoipa::path(get, path = "/templates", security(("token" = [])),
    responses((status = 200, body = [TemplateInfo]), (status = "default", body = ApiError)))]
pub(super) async fn templates(
    State(farm): Farm,
    caller: Caller,
) -> Result<Json<Vec<TemplateInfo>>, Refusal> {
    Ok(Json(farm.templates(&caller)?))
}

/// Makes a template of a disk image.
#[utoipa::path(post, path = "/templates", request_body = CreateTemplate, security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn create_template(
    State(farm): Farm,
    caller: Caller,
    Body(request): Body<CreateTemplate>,
) -> Accepted {
    accepted(farm.create_template(&caller, &request)?)
}

/// Removes a template that no clone needs.
#[utoipa::path(delete, path = "/templates/{name}", params(("name" = String, Path)),
    security(("token" = [])),
    responses((status = 202, body = Task), (status = "default", body = ApiError)))]
pub(super) async fn delete_template(
    State(farm): Farm,
    caller: Caller,
    Path(name): Path<String>,
) -> Accepted {
    accepted(farm.delete_template(&caller, &name)?)
}

/// The newest migrations, newest first.
#[utoipa::path(get, path = "/migrations", params(Limit), security(("token" = [])),
    responses((status = 200, body = [MigrationInfo]), (status = "default", body = ApiError)))]
pub(super) async fn migrations(
    State(farm): Farm,
    caller: Caller,
    Query(query): Query<Limit>,
) -> Result<Json<Vec<MigrationInfo>>, Refusal> {
    Ok(Json(farm.migrations(&caller, query.limit())?))
}

/// One migration, with its receipt after the end.
#[utoipa::path(get, path = "/migrations/{id}", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 200, body = MigrationInfo), (status = "default", body = ApiError)))]
pub(super) async fn migration(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<MigrationId>,
) -> Result<Json<MigrationInfo>, Refusal> {
    Ok(Json(farm.migration(&caller, id)?))
}

/// Puts what an echo probe saw into a migration's receipt.
#[utoipa::path(put, path = "/migrations/{id}/echo", params(("id" = String, Path)),
    request_body = EchoReport, security(("token" = [])),
    responses((status = 204), (status = "default", body = ApiError)))]
pub(super) async fn echo(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<MigrationId>,
    Body(seen): Body<EchoReport>,
) -> Result<StatusCode, Refusal> {
    farm.report_echo(&caller, id, seen)?;
    Ok(StatusCode::NO_CONTENT)
}
