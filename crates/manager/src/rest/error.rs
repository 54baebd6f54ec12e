//! Every refusal as [`ApiError`] in JSON, whoever found the fault.

use axum::Json;
use axum::response::{IntoResponse, Response};
use godwit_api::error::{ApiError, ErrorCode};
use hyper::StatusCode;

/// A refusal on its way out.
#[derive(Debug)]
pub struct Refusal(pub ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

pub(super) async fn no_such_path() -> Refusal {
    let message = "there is nothing under this path: see /api/v1/openapi.json";
    Refusal(ApiError::new(ErrorCode::NotFound, message))
}

pub(super) async fn no_such_method() -> Response {
    let message = "this path does not take this method: see /api/v1/openapi.json";
    let body = Json(ApiError::new(ErrorCode::Invalid, message));
    (StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}
