//! The agent's API: who may call what, and handlers that only translate.
//!
//! | who | calls |
//! |---|---|
//! | manager | all |
//! | agents | `clock`, `GET migrations/{id}`, `abort` |
//! | anybody of the farm | `/metrics` |

mod extract;
mod handlers;

use crate::answer::{Refusal, invalid, not_found};
use crate::host::Host;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_tls::{Identity, Peer};
use std::sync::Arc;

/// A request's body is a definition at most.
const LARGEST_BODY: usize = 1 << 20;

/// The routes of an agent.
pub fn router(host: Arc<Host>) -> Router {
    let manager = Router::new()
        .route("/v1/host", get(handlers::host))
        .route("/v1/stats", get(handlers::stats))
        .route(
            "/v1/pages",
            get(handlers::pages).delete(handlers::empty_pages),
        )
        .route("/v1/changes", get(handlers::changes))
        .route("/v1/vms", get(handlers::vms))
        .route(
            "/v1/vms/{id}",
            get(handlers::vm)
                .put(handlers::define)
                .delete(handlers::delete),
        )
        .route("/v1/vms/{id}/power", post(handlers::power))
        .route("/v1/templates/{name}", put(handlers::put_template))
        .route("/v1/templates/{name}", delete(handlers::delete_template))
        .route("/v1/migrations/incoming", post(handlers::incoming))
        .route("/v1/migrations/outgoing", post(handlers::outgoing))
        .route("/v1/migrations/{id}/cancel", post(handlers::cancel))
        .layer(middleware::from_fn(|peer, request, next| {
            allow(peer, request, next, is_manager)
        }));
    let agents = Router::new()
        .route("/v1/clock", get(handlers::clock))
        .route("/v1/migrations/{id}", get(handlers::migration))
        .route("/v1/migrations/{id}/abort", post(handlers::abort))
        .layer(middleware::from_fn(|peer, request, next| {
            allow(peer, request, next, is_agent)
        }));
    let all = Router::new()
        .route("/metrics", get(handlers::metrics))
        .layer(middleware::from_fn(|peer, request, next| {
            allow(peer, request, next, |_| true)
        }));
    manager
        .merge(agents)
        .merge(all)
        .fallback(|| async {
            Refusal(not_found(
                "there is no such call: see the agent API's table",
            ))
        })
        .method_not_allowed_fallback(|| async { Refusal(invalid("this call has another method")) })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(host)
}

fn is_manager(who: &Identity) -> bool {
    matches!(who, Identity::Manager)
}

fn is_agent(who: &Identity) -> bool {
    matches!(who, Identity::Manager | Identity::Agent(_))
}

async fn allow(peer: Peer, request: Request, next: Next, may: fn(&Identity) -> bool) -> Response {
    match peer.identity {
        None => {
            let text = "no certificate of the farm was shown";
            Refusal(ApiError::new(ErrorCode::Unauthenticated, text)).into_response()
        }
        Some(who) if !may(&who) => {
            let text = format!("{who} may not call this");
            Refusal(ApiError::new(ErrorCode::Forbidden, text)).into_response()
        }
        Some(_) => next.run(request).await,
    }
}
