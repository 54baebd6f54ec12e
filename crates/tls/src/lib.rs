//! The farm CA, identities, and serving and calling under mutual TLS.
//!
//! Every certificate of a farm is signed by the farm's own CA; its subject's common name says who holds it
//! ([`Identity`]) and each carries the server name [`SERVER_NAME`], which is what clients verify. An address in a
//! URL proves nothing: clients say which identity they [`Expect`] behind it.
//!
//! - [`ca`]: the CA, signing, keys and requests of a joining host
//! - [`config`]: rustls configurations for servers and clients, ready for reqwest's `tls_backend_preconfigured`
//! - [`serve`]: an axum router on a TCP listener, with limits; [`Peer`] tells a handler who calls

pub mod ca;
pub mod config;
mod fingerprint;
mod identity;
mod peer;
mod pem;
mod serve;
mod verify;

pub use ca::{Ca, CaError, KeyedCert, KeyedRequest, SubjectNames};
pub use config::{ClientAuth, ConfigError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use identity::{Identity, IdentityError, identity_of};
pub use peer::Peer;
pub use pem::PemError;
pub use serve::{Limits, serve};
pub use verify::Expect;

/// The DNS name that every farm certificate carries and that clients verify, whatever address they dialled.
pub const SERVER_NAME: &str = "godwit";

/// Makes ring the process's cryptography provider. Call it before building anything with TLS in it; calling it again
/// does nothing.
pub fn install_provider() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The provider that all configurations of this crate are built with.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}
