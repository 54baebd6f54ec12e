//! `/about`, `/join…`, `/hosts`, `/datastores`, `/networks`.

use super::Farm;
use super::error::Refusal;
use super::extract::{Body, Id};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use godwit_api::agent::PageStoreReport;
use godwit_api::error::ApiError;
use godwit_api::farm::{
    About, DatastoreInfo, HostView, JoinReply, JoinRequest, JoinToken, NetworkInfo,
};
use godwit_model::host::HostStats;
use godwit_model::ids::HostId;
use hyper::StatusCode;

/// What the manager is. Needs no token.
#[utoipa::path(get, path = "/about", responses((status = 200, body = About)))]
pub(super) async fn about(State(farm): Farm) -> Json<About> {
    Json(farm.about())
}

/// Makes a token with which one host can join.
#[utoipa::path(post, path = "/join-tokens", security(("token" = [])),
    responses((status = 200, body = JoinToken), (status = "default", body = ApiError)))]
pub(super) async fn join_token(
    State(farm): Farm,
    caller: Caller,
) -> Result<Json<JoinToken>, Refusal> {
    Ok(Json(farm.join_token(&caller)?))
}

/// Joins a host. The join token in the body is the right to do so.
#[utoipa::path(post, path = "/join", request_body = JoinRequest,
    responses((status = 200, body = JoinReply), (status = "default", body = ApiError)))]
pub(super) async fn join(
    State(farm): Farm,
    caller: Caller,
    Body(request): Body<JoinRequest>,
) -> Result<Json<JoinReply>, Refusal> {
    Ok(Json(farm.join(&caller, &request)?))
}

/// Every host.
#[utoipa::path(get, path = "/hosts", security(("token" = [])),
    responses((status = 200, body = [HostView]), (status = "default", body = ApiError)))]
pub(super) async fn list(
    State(farm): Farm,
    caller: Caller,
) -> Result<Json<Vec<HostView>>, Refusal> {
    Ok(Json(farm.hosts(&caller)?))
}

/// One host.
#[utoipa::path(get, path = "/hosts/{id}", params(("id" = String, Path)), security(("token" = [])),
    responses((status = 200, body = HostView), (status = "default", body = ApiError)))]
pub(super) async fn show(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<Json<HostView>, Refusal> {
    Ok(Json(farm.host(&caller, &id)?))
}

/// Forgets a host that has no VMs.
#[utoipa::path(delete, path = "/hosts/{id}", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 204), (status = "default", body = ApiError)))]
pub(super) async fn remove(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<StatusCode, Refusal> {
    farm.remove_host(&caller, &id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A host's newest figures.
#[utoipa::path(get, path = "/hosts/{id}/stats", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 200, body = HostStats), (status = "default", body = ApiError)))]
pub(super) async fn stats(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<Json<HostStats>, Refusal> {
    Ok(Json(farm.host_stats(&caller, &id)?))
}

/// What a host's page store holds.
#[utoipa::path(get, path = "/hosts/{id}/pages", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 200, body = PageStoreReport), (status = "default", body = ApiError)))]
pub(super) async fn pages(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<Json<PageStoreReport>, Refusal> {
    Ok(Json(farm.host_pages(&caller, &id).await?))
}

/// Empties a host's page store.
#[utoipa::path(delete, path = "/hosts/{id}/pages", params(("id" = String, Path)),
    security(("token" = [])),
    responses((status = 204), (status = "default", body = ApiError)))]
pub(super) async fn empty_pages(
    State(farm): Farm,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<StatusCode, Refusal> {
    farm.empty_host_pages(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every datastore that a host has.
#[utoipa::path(get, path = "/datastores", security(("token" = [])),
    responses((status = 200, body = [DatastoreInfo]), (status = "default", body = ApiError)))]
pub(super) async fn datastores(
    State(farm): Farm,
    caller: Caller,
) -> Result<Json<Vec<DatastoreInfo>>, Refusal> {
    Ok(Json(farm.datastores(&caller)?))
}

/// Every network that a host has.
#[utoipa::path(get, path = "/networks", security(("token" = [])),
    responses((status = 200, body = [NetworkInfo]), (status = "default", body = ApiError)))]
pub(super) async fn networks(
    State(farm): Farm,
    caller: Caller,
) -> Result<Json<Vec<NetworkInfo>>, Refusal> {
    Ok(Json(farm.networks(&caller)?))
}
