//! One way to call: JSON over HTTPS, errors as [`CallError`]. Both clients stand on it.

use crate::error::{ApiError, ErrorCode};
use reqwest::{Method, Response};
use serde::{Serialize, de::DeserializeOwned};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take, unless it says otherwise.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// What a long poll may take beyond the time it asked for.
pub(crate) const POLL_SLACK: Duration = Duration::from_secs(10);
/// An answer's text that is shown when it is not JSON, in bytes.
const SHOWN: usize = 200;

/// A call that brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other side answered and said no.
    #[error("{0}")]
    Refused(ApiError),
    /// No answer came; whether the request was carried out is not known.
    #[error("no answer from {address}: check that it runs and can be reached ({reason})")]
    NoAnswer {
        /// Who was called.
        address: String,
        /// What the network said.
        reason: String,
    },
    /// Something answered that is not what was called.
    #[error(
        "{address} answered with something else than expected ({reason}): check the address and the versions"
    )]
    Strange {
        /// Who was called.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// The client itself cannot be made.
    #[error("the TLS client cannot be set up ({0}): check certificates and key")]
    Setup(String),
}

impl CallError {
    /// The other side's code, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => Some(error.code),
            _ => None,
        }
    }

    /// The same error as this side's answer to its own caller.
    #[must_use]
    pub fn into_api(self) -> ApiError {
        match self {
            Self::Refused(error) => error,
            Self::NoAnswer { .. } => ApiError::new(ErrorCode::Unavailable, self.to_string()),
            other => ApiError::new(ErrorCode::Internal, other.to_string()),
        }
    }
}

/// A connection pool to one server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    address: String,
    bearer: Option<String>,
}

impl Http {
    /// A client of `address` under `prefix` (`/v1`), by a finished TLS configuration. The
    /// server's name is always `godwit`: farm certificates carry it, and who it really is
    /// was laid down in the configuration.
    pub(crate) fn new(
        address: SocketAddr,
        prefix: &str,
        tls: rustls::ClientConfig,
        bearer: Option<String>,
    ) -> Result<Self, CallError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .no_proxy()
            .resolve("godwit", address)
            .build()
            .map_err(|error| CallError::Setup(causes(&error)))?;
        let base = format!("https://godwit:{}{prefix}", address.port());
        Ok(Self {
            client,
            base,
            address: address.to_string(),
            bearer,
        })
    }

    /// Calls and reads the JSON answer.
    pub(crate) async fn call<Q: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Q>,
        limit: Duration,
    ) -> Result<T, CallError> {
        let response = self.send(method, path, body, limit).await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.no_answer(&error))?;
        // Calls without a result answer with an empty body, which reads as JSON's null.
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| CallError::Strange {
            address: self.address.clone(),
            reason: error.to_string(),
        })
    }

    /// Calls and gives the answer unread, if it is a success.
    pub(crate) async fn send<Q: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Q>,
        limit: Duration,
    ) -> Result<Response, CallError> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .timeout(limit);
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.no_answer(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(error) => CallError::Refused(error),
            Err(_) => CallError::Strange {
                address: self.address.clone(),
                reason: format!(
                    "status {status}: {}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])
                ),
            },
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> CallError {
        CallError::NoAnswer {
            address: self.address.clone(),
            reason: causes(error),
        }
    }
}

/// An error and all its causes in one line: reqwest's own text hides the one that matters.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
