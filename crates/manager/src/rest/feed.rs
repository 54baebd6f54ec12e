//! `/changes`: the change feed as server-sent events.

use super::Farm;
use super::error::Refusal;
use crate::service::Caller;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use godwit_api::error::ApiError;
use godwit_api::farm::Change;
use tokio_stream::wrappers::BroadcastStream;

/// Every change of the farm from now on, as server-sent events of JSON.
#[utoipa::path(get, path = "/changes", security(("token" = [])),
    responses((status = 200, body = Change, content_type = "text/event-stream"),
        (status = "default", body = ApiError)))]
pub(super) async fn changes(
    State(farm): Farm,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Refusal> {
    farm.may_read(&caller)?;
    let feed = BroadcastStream::new(farm.core().live.subscribe());
    let events = feed.map(|change| {
        // Only a reader that is too slow makes this an error: it is told, and goes on.
        let change = change.unwrap_or(Change::Lagged);
        Event::default().json_data(&change)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
