//! What handlers read out of a request, each with our own words when it is wrong.

use super::error::Refusal;
use crate::service::{Caller, Right, Service};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_tls::Peer;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use std::str::FromStr;

impl FromRequestParts<Service> for Caller {
    type Rejection = Refusal;

    /// Who calls: by bearer token. Without a good one it is nobody, and the service says
    /// what nobody may do.
    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().cloned().ok_or_else(|| {
            Refusal(ApiError::new(
                ErrorCode::Internal,
                "the request has no known sender",
            ))
        })?;
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let admin = token.is_some_and(|token| service.core().keys.is_admin(token.trim()));
        let (name, right) = if admin {
            ("administrator", Right::Administrator)
        } else {
            ("nobody", Right::Nobody)
        };
        Ok(Self {
            name: name.to_owned(),
            from: peer.address,
            right,
        })
    }
}

/// A request's body as JSON.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Service> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal(ApiError::new(ErrorCode::Invalid, message));
        // axum's own limit (2 MB) holds here.
        let bytes = Bytes::from_request(request, service)
            .await
            .map_err(|error| invalid(format!("the body cannot be read: {}", error.body_text())))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| invalid(format!("the body is not what this call takes: {error}")))
    }
}

/// A request's query.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Service> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Refusal> {
        AxumQuery::from_request_parts(parts, service)
            .await
            .map(|AxumQuery(query)| Self(query))
            .map_err(|error| {
                let message = format!("the query cannot be read: {}", error.body_text());
                Refusal(ApiError::new(ErrorCode::Invalid, message))
            })
    }
}

/// The id in a path.
pub(super) struct Id<T>(pub T);

impl<T> FromRequestParts<Service> for Id<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal(ApiError::new(ErrorCode::Invalid, message));
        let Path(text) = Path::<String>::from_request_parts(parts, service)
            .await
            .map_err(|error| invalid(error.body_text()))?;
        text.parse()
            .map(Self)
            .map_err(|error: T::Err| invalid(error.to_string()))
    }
}
