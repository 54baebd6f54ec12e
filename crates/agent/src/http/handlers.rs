//! One handler a call; the table is in `godwit_api::agent`.

use super::extract::{Body, Path, Query};
use crate::answer::{Refusal, invalid, not_found, unavailable};
use crate::host::{Host, facts};
use crate::migration::{Control, destination};
use crate::stats::metrics;
use crate::vm::{self, Message, define as defining};
use crate::{pages, templates, timings};
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use godwit_api::agent::{
    AbortRequest, Changes, ClockReading, DefineRequest, IncomingReply, IncomingRequest,
    MigrationView, OutgoingRequest, PageStoreReport, Phase, PowerRequest, TemplateRequest, VmView,
};
use godwit_model::host::{HostFacts, HostStats};
use godwit_model::ids::{MigrationId, VmId};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

type App = State<Arc<Host>>;
type Told<T> = Result<Json<T>, Refusal>;

pub async fn host(State(host): App) -> Json<HostFacts> {
    Json(facts::facts(&host).await)
}

pub async fn stats(State(host): App) -> Told<HostStats> {
    let stats = host.stats.borrow().clone();
    let stats = stats.ok_or_else(|| unavailable("no figures yet: ask again in a second"))?;
    Ok(Json(HostStats::clone(&stats)))
}

pub async fn metrics(State(host): App) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::text(&host),
    )
}

pub async fn pages(State(host): App) -> Told<PageStoreReport> {
    Ok(Json(pages::report(&host).await?))
}

pub async fn empty_pages(State(host): App) -> Told<()> {
    pages::empty(&host).await?;
    Ok(Json(()))
}

pub async fn clock() -> Json<ClockReading> {
    // The clock last: what comes after it lies in the round trip's second half.
    let boot_id = facts::boot_id();
    let mono = godwit_net::clock::now();
    Json(ClockReading { mono, boot_id })
}

#[derive(Deserialize)]
pub struct Since {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    wait: u64,
}

pub async fn changes(State(host): App, Query(query): Query<Since>) -> Json<Changes> {
    Json(host.board.changes(query.since, poll(query.wait)).await)
}

pub async fn vms(State(host): App) -> Json<Vec<VmView>> {
    Json(host.board.vms())
}

pub async fn vm(State(host): App, Path(id): Path<VmId>) -> Told<VmView> {
    let missing = || not_found(format!("VM {id} is not on this host"));
    Ok(Json(host.board.vm(id).ok_or_else(missing)?))
}

pub async fn define(
    State(host): App,
    Path(id): Path<VmId>,
    Body(request): Body<DefineRequest>,
) -> Told<VmView> {
    if request.definition.id != id {
        return Err(invalid("the definition's id is not the one in the path").into());
    }
    // A task of its own: a caller that goes away must not leave half a VM.
    let made = tokio::spawn(async move { defining::define(&host, request).await }).await;
    Ok(Json(made.map_err(|error| {
        crate::answer::internal(error.to_string())
    })??))
}

pub async fn delete(State(host): App, Path(id): Path<VmId>) -> Told<()> {
    vm::load(&host, id).await?;
    host.registry.ask(id, Message::Delete).await?;
    Ok(Json(()))
}

pub async fn power(
    State(host): App,
    Path(id): Path<VmId>,
    Body(request): Body<PowerRequest>,
) -> Told<VmView> {
    if matches!(request, PowerRequest::Start { .. }) {
        vm::load(&host, id).await?;
    }
    let view = host
        .registry
        .ask(id, |reply| Message::Power(request, reply))
        .await?;
    Ok(Json(view))
}

pub async fn put_template(
    State(host): App,
    Path(name): Path<String>,
    Body(request): Body<TemplateRequest>,
) -> Told<()> {
    let made = tokio::spawn(async move { templates::put(&host, &name, &request).await }).await;
    made.map_err(|error| crate::answer::internal(error.to_string()))??;
    Ok(Json(()))
}

#[derive(Deserialize)]
pub struct OfDatastore {
    datastore: String,
}

pub async fn delete_template(
    State(host): App,
    Path(name): Path<String>,
    Query(query): Query<OfDatastore>,
) -> Told<()> {
    templates::delete(&host, &name, &query.datastore).await?;
    Ok(Json(()))
}

pub async fn incoming(
    State(host): App,
    Body(request): Body<IncomingRequest>,
) -> Told<IncomingReply> {
    Ok(Json(destination::receive(&host, request).await?))
}

pub async fn outgoing(
    State(host): App,
    Body(request): Body<OutgoingRequest>,
) -> Told<MigrationView> {
    let ask = |reply| Message::Outgoing(Box::new(request.clone()), reply);
    Ok(Json(host.registry.ask(request.vm, ask).await?))
}

#[derive(Deserialize)]
pub struct Known {
    known: Option<Phase>,
    #[serde(default)]
    wait: u64,
}

pub async fn migration(
    State(host): App,
    Path(id): Path<MigrationId>,
    Query(query): Query<Known>,
) -> Told<MigrationView> {
    Ok(Json(
        host.migrations
            .view(id, query.known, poll(query.wait))
            .await?,
    ))
}

pub async fn abort(
    State(host): App,
    Path(id): Path<MigrationId>,
    Body(request): Body<AbortRequest>,
) -> Told<()> {
    host.migrations
        .ask(id, |reply| Control::Abort(request.reason, reply))
        .await?;
    Ok(Json(()))
}

pub async fn cancel(State(host): App, Path(id): Path<MigrationId>) -> Told<()> {
    host.migrations.ask(id, Control::Cancel).await?;
    Ok(Json(()))
}

fn poll(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(timings::LONGEST_POLL)
}
