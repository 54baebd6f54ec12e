//! Joining a farm: keys are made here and never leave the host; the manager signs them.
//!
//! All the host has is the token. Its second part is the fingerprint of the farm's CA: the
//! server that answers must show a CA certificate with it, so nobody can pose as the manager.

use crate::config::AgentConfig;
use crate::identity::{HostIdentity, IdentityError};
use godwit_api::error::ApiError;
use godwit_api::farm::{JoinReply, JoinRequest};
use godwit_tls::{CaError, ConfigError, Expect, Fingerprint, Identity, KeyedRequest, SERVER_NAME};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What `godwit agent join` was told.
#[derive(Debug, Clone)]
pub struct Join {
    /// Where the manager answers: `https://ADDRESS:7440`, or `ADDRESS:7440`.
    pub manager: String,
    /// The token.
    pub token: String,
    /// Replace an identity that exists.
    pub force: bool,
}

/// Why a host could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has joined before.
    #[error(
        "this host has an identity already: give --force to replace it (its former farm must then forget it)"
    )]
    Joined,
    /// The token has not the form `secret.fingerprint`.
    #[error("the token is not complete: copy all of what `godwit host token` printed")]
    Token,
    /// The manager's address cannot be used.
    #[error("`{0}` is not a manager's address: write https://ADDRESS:7440")]
    Address(String),
    /// Keys could not be made.
    #[error("no keys could be made")]
    Keys(#[from] CaError),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] ConfigError),
    /// The manager could not be reached, or is not the one that made the token.
    #[error("the manager at {address} did not answer as it should")]
    Manager {
        /// Where it was looked for.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The manager said no.
    #[error("the manager refused: {0}")]
    Refused(ApiError),
    /// The reply's CA is not the one in the token.
    #[error("the manager sent another CA certificate than the token names: ask for a new token")]
    WrongCa,
    /// The identity could not be stored.
    #[error("the identity could not be stored")]
    Store(#[from] IdentityError),
}

/// Joins the farm and stores the identity.
///
/// # Errors
/// See [`JoinError`]; the token may be used up by then.
pub async fn join(config: &AgentConfig, join: &Join) -> Result<(), JoinError> {
    if HostIdentity::exists(&config.state_dir) && !join.force {
        return Err(JoinError::Joined);
    }
    let (_, fingerprint) = join.token.split_once('.').ok_or(JoinError::Token)?;
    let fingerprint: Fingerprint = fingerprint.trim().parse().map_err(|_| JoinError::Token)?;
    let address = manager_address(&join.manager).await?;
    let (agent, relay) = (KeyedRequest::generate()?, KeyedRequest::generate()?);
    let request = JoinRequest {
        token: join.token.trim().to_owned(),
        host: config.id.clone(),
        addresses: addresses(config),
        agent: config.listen,
        csr: agent.csr_pem.clone(),
        relay_csr: relay.csr_pem.clone(),
    };
    let reply = ask(address, fingerprint, &request).await?;
    if Fingerprint::of_pem(&reply.ca).ok() != Some(fingerprint) {
        return Err(JoinError::WrongCa);
    }
    let identity = HostIdentity {
        agent: agent.with_certificate(reply.certificate),
        relay: relay.with_certificate(reply.relay_certificate),
        ca_pem: reply.ca,
    };
    identity.store(&config.state_dir)?;
    Ok(())
}

async fn ask(
    address: SocketAddr,
    fingerprint: Fingerprint,
    request: &JoinRequest,
) -> Result<JoinReply, JoinError> {
    godwit_tls::install_provider();
    let tls = godwit_tls::config::joining_client(fingerprint, Expect::Exactly(Identity::Manager))?;
    let failed = |source| JoinError::Manager {
        address: address.to_string(),
        source,
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve(SERVER_NAME, address)
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        .build()
        .map_err(failed)?;
    let url = format!("https://{SERVER_NAME}:{}/api/v1/join", address.port());
    let response = client
        .post(url)
        .json(request)
        .send()
        .await
        .map_err(failed)?;
    if response.status().is_success() {
        return response.json().await.map_err(failed);
    }
    Err(JoinError::Refused(response.json().await.map_err(failed)?))
}

async fn manager_address(text: &str) -> Result<SocketAddr, JoinError> {
    let wrong = || JoinError::Address(text.to_owned());
    let plain = text
        .strip_prefix("https://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let mut found = tokio::net::lookup_host(plain).await.map_err(|_| wrong())?;
    found.next().ok_or_else(wrong)
}

fn addresses(config: &AgentConfig) -> Vec<IpAddr> {
    let mut all = vec![config.listen.ip(), config.migration_address];
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_read_with_and_without_scheme() {
        let expected: SocketAddr = "127.0.0.1:7440".parse().unwrap();
        for text in [
            "127.0.0.1:7440",
            "https://127.0.0.1:7440",
            "https://127.0.0.1:7440/",
        ] {
            assert_eq!(manager_address(text).await.unwrap(), expected);
        }
        for text in ["", "127.0.0.1", "http://127.0.0.1:1"] {
            assert!(manager_address(text).await.is_err(), "{text}");
        }
    }
}
