//! rustls configurations for the farm's servers and clients.
//!
//! The client configurations fit reqwest:
//! `reqwest::Client::builder().tls_backend_preconfigured(config)` with a [`ClientConfig`] by value.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    server::WebPkiClientVerifier,
};

use crate::{Expect, Fingerprint, KeyedCert, PemError, pem, verify::FarmVerifier};

/// Both versions that rustls knows, the newer one preferred.
const HTTP_VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
/// Relays speak only to relays.
const RELAY_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A TLS configuration that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A certificate or key cannot be read.
    #[error("cannot read a certificate or key")]
    Pem(#[from] PemError),
    /// Certificate and key do not fit together, or use something unsupported.
    #[error(
        "certificate and key are not usable together; join the farm again or restore both files"
    )]
    Tls(#[from] rustls::Error),
    /// The CA certificate cannot be used to verify others.
    #[error("the CA certificate cannot verify clients; give the farm's ca.pem")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Whether a server wants to know its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients without a certificate of the farm are refused in the handshake. Agents and relays.
    Required,
    /// Clients may come without one (they have a bearer token instead); a wrong one is still refused. The manager.
    Optional,
}

/// A server that presents `own` and, after it, the CA certificate (so that a joining host can compare it with the
/// fingerprint in its token).
pub fn server(
    ca_pem: &str,
    own: &KeyedCert,
    clients: ClientAuth,
) -> Result<Arc<ServerConfig>, ConfigError> {
    server_of(ca_pem, own, clients, HTTP_VERSIONS)
}

/// A relay's server side: mutual TLS 1.3.
pub fn relay_server(ca_pem: &str, own: &KeyedCert) -> Result<Arc<ServerConfig>, ConfigError> {
    server_of(ca_pem, own, ClientAuth::Required, RELAY_VERSIONS)
}

/// A client that trusts the farm's CA and, where `own` is given, shows who it is.
pub fn client(
    ca_pem: &str,
    own: Option<&KeyedCert>,
    expect: Expect,
) -> Result<ClientConfig, ConfigError> {
    let verifier = FarmVerifier::with_roots(roots(ca_pem)?, expect)?;
    client_of(verifier, own, HTTP_VERSIONS)
}

/// A client that has nothing but the CA's fingerprint: a host that joins. The CA certificate that the server presents
/// must have it, and must have signed the server's own.
pub fn joining_client(
    fingerprint: Fingerprint,
    expect: Expect,
) -> Result<ClientConfig, ConfigError> {
    client_of(
        FarmVerifier::with_pin(fingerprint, expect),
        None,
        HTTP_VERSIONS,
    )
}

/// A relay's client side: mutual TLS 1.3.
pub fn relay_client(
    ca_pem: &str,
    own: &KeyedCert,
    expect: Expect,
) -> Result<Arc<ClientConfig>, ConfigError> {
    let verifier = FarmVerifier::with_roots(roots(ca_pem)?, expect)?;
    Ok(Arc::new(client_of(verifier, Some(own), RELAY_VERSIONS)?))
}

fn server_of(
    ca_pem: &str,
    own: &KeyedCert,
    clients: ClientAuth,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, ConfigError> {
    let provider = crate::provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider.clone());
    let verifier = match clients {
        ClientAuth::Required => verifier.build()?,
        ClientAuth::Optional => verifier.allow_unauthenticated().build()?,
    };
    let mut chain = pem::certificates(&own.cert_pem)?;
    let ca = pem::first_certificate(ca_pem)?;
    if !chain.contains(&ca) {
        chain.push(ca);
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, pem::private_key(&own.key_pem)?)?;
    Ok(Arc::new(config))
}

fn client_of(
    verifier: FarmVerifier,
    own: Option<&KeyedCert>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, ConfigError> {
    let builder = ClientConfig::builder_with_provider(crate::provider())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match own {
        Some(own) => builder.with_client_auth_cert(
            pem::certificates(&own.cert_pem)?,
            pem::private_key(&own.key_pem)?,
        )?,
        None => builder.with_no_client_auth(),
    })
}

fn roots(ca_pem: &str) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}
