//! The REST face: reads a request, asks the service, writes the answer. No rule is here.
//! The OpenAPI description is made from the same list of handlers that serves.

mod error;
mod extract;
mod feed;
mod hosts;
mod vms;
mod work;

use crate::service::Service;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Everything the REST API can do, as a router under `/api/v1`.
pub fn router(service: Service) -> Router {
    let (routes, description) = described().split_for_parts();
    let description = finish(description);
    let openapi = get(move || {
        let description = description.clone();
        async move { Json(description) }
    });
    let routes = routes.route("/openapi.json", openapi).with_state(service);
    Router::new()
        .nest("/api/v1", routes)
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
}

/// The OpenAPI description that the server gives.
#[must_use]
pub fn description() -> OpenApi {
    finish(described().split_for_parts().1)
}

fn described() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(OpenApiBuilder::new().build())
        .routes(routes!(hosts::about))
        .routes(routes!(hosts::join_token))
        .routes(routes!(hosts::join))
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::show, hosts::remove))
        .routes(routes!(hosts::stats))
        .routes(routes!(hosts::pages, hosts::empty_pages))
        .routes(routes!(hosts::datastores))
        .routes(routes!(hosts::networks))
        .routes(routes!(vms::list, vms::create))
        .routes(routes!(vms::clone_template))
        .routes(routes!(vms::show, vms::change, vms::delete))
        .routes(routes!(vms::power))
        .routes(routes!(vms::migrate))
        .routes(routes!(vms::templates, vms::create_template))
        .routes(routes!(vms::delete_template))
        .routes(routes!(vms::migrations))
        .routes(routes!(vms::migration))
        .routes(routes!(vms::echo))
        .routes(routes!(work::list))
        .routes(routes!(work::show))
        .routes(routes!(work::cancel))
        .routes(routes!(work::events))
        .routes(routes!(work::audit))
        .routes(routes!(feed::changes))
}

fn finish(mut description: OpenApi) -> OpenApi {
    description.info = InfoBuilder::new()
        .title("Godwit")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Live migration of running VMs, and the farm that it takes.",
        ))
        .build();
    description.servers = Some(vec![utoipa::openapi::Server::new("/api/v1")]);
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    description
        .components
        .get_or_insert_with(Default::default)
        .add_security_scheme("token", bearer);
    description
}

/// What every handler gets.
type Farm = State<Service>;
