//! Who sends a request: put into each request by [`crate::serve`], read by handlers through an extractor.

use std::net::SocketAddr;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use crate::Identity;

/// The other end of the connection a request came over. An axum extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, as proven by its certificate; `None` if it came without one.
    pub identity: Option<Identity>,
    /// Where it calls from.
    pub address: SocketAddr,
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        // Without it the router was not run by `serve`; then nobody may be taken for anybody.
        parts.extensions.get::<Self>().cloned().ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request has no known peer",
        ))
    }
}
