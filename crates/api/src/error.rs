//! How both APIs say no: one JSON shape, with a code for programs and a sentence for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs: stable.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: String,
}

impl ApiError {
    /// An error with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Why a request was not carried out. Each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request itself is wrong.
    Invalid,
    /// 401: no valid token or certificate.
    Unauthenticated,
    /// 403: known, but not allowed.
    Forbidden,
    /// 404: no such thing.
    NotFound,
    /// 409: not in this state, or the name is taken.
    Conflict,
    /// 422: this host cannot do it (capacity, CPU model, network, datastore, version).
    Refused,
    /// 503: a host or the storage gives no answer.
    Unavailable,
    /// 507: no room.
    Full,
    /// 500: a defect of Godwit or its surroundings.
    Internal,
}

impl ErrorCode {
    /// Its HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Refused => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Full => 507,
        }
    }
}
