//! How failures become answers: a code for programs, a sentence with all its causes for people.
//!
//! Errors of the crates below keep their own types until here, where they end as the one
//! shape that crosses the socket. A full disk is recognized wherever it hides.

use axum::response::{IntoResponse, Response};
use godwit_api::error::{ApiError, ErrorCode};
use std::error::Error;

/// What an operation gives that ends as an answer.
pub type Answer<T> = Result<T, ApiError>;

/// An error and its causes in one line.
#[must_use]
pub fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An error as an answer: `Full` if a full disk is behind it, else the code given.
#[must_use]
pub fn tell(code: ErrorCode, error: &(dyn Error + 'static)) -> ApiError {
    let code = if is_full(error) {
        ErrorCode::Full
    } else {
        code
    };
    ApiError::new(code, whole(error))
}

fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let full = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .is_some_and(|code| code == libc::ENOSPC || code == libc::EDQUOT);
        if full || error.to_string().contains("No space left on device") {
            return true;
        }
        next = error.source();
    }
    false
}

/// Gives the errors of a result their code.
pub trait Tell<T> {
    /// The same result, its error as an answer with this code (or `Full`).
    ///
    /// # Errors
    /// The error itself, told.
    fn told(self, code: ErrorCode) -> Answer<T>;
}

impl<T, E: Error + 'static> Tell<T> for Result<T, E> {
    fn told(self, code: ErrorCode) -> Answer<T> {
        self.map_err(|error| tell(code, &error))
    }
}

/// The request contradicts the state.
#[must_use]
pub fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Conflict, message)
}

/// This host cannot do it.
#[must_use]
pub fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Refused, message)
}

/// The request itself is wrong.
#[must_use]
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}

/// No such thing.
#[must_use]
pub fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::NotFound, message)
}

/// Somebody gives no answer.
#[must_use]
pub fn unavailable(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, message)
}

/// A defect.
#[must_use]
pub fn internal(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Internal, message)
}

/// Runs file work on a thread where it may block.
///
/// # Errors
/// What the work gives; a panic in it is an internal error.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(internal(format!("a defect of the agent: {error}"))),
    }
}

/// An [`ApiError`] as an HTTP response.
#[derive(Debug)]
pub struct Refusal(pub ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = axum::http::StatusCode::from_u16(self.0.code.status())
            .unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.0)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the file")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_full_disk_is_told_as_such_and_causes_are_named() {
        let full = Outer(std::io::Error::from_raw_os_error(libc::ENOSPC));
        let answer = tell(ErrorCode::Internal, &full);
        assert_eq!(answer.code, ErrorCode::Full);
        assert!(
            answer
                .message
                .starts_with("cannot write the file: No space"),
            "{}",
            answer.message
        );
        let other = Outer(std::io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(tell(ErrorCode::Internal, &other).code, ErrorCode::Internal);
    }
}
