//! How a client knows the server: by the farm's CA, the farm's server name, and the identity it expects.
//!
//! The name or address in a URL is not compared: hosts change addresses, and within a farm the certificate says who
//! somebody is. So what a caller [`Expect`]s is the only protection against one host posing as another.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{Fingerprint, Identity, SERVER_NAME, identity_of};

/// Which server a client is willing to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Exactly this one.
    Exactly(Identity),
    /// Whoever serves with a certificate of the farm. Only for calls that carry no secret and change nothing.
    AnyInFarm,
}

/// Why a server's certificate, although well-formed, is not accepted.
#[derive(thiserror::Error)]
enum Unexpected {
    #[error("the server is {found}, expected {expected}; check the address")]
    Identity { found: Identity, expected: Identity },
    #[error(
        "no certificate of the server has the fingerprint {0}; is this the manager that made the join token?"
    )]
    Fingerprint(Fingerprint),
}

impl std::fmt::Debug for Unexpected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // rustls shows its users the debug form: they must be able to read it.
        std::fmt::Display::fmt(self, f)
    }
}

/// Where trust comes from.
#[derive(Debug)]
enum Trust {
    Roots(Arc<WebPkiServerVerifier>),
    /// The CA that the server itself presents, if it has this fingerprint.
    Pin(Fingerprint),
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct FarmVerifier {
    trust: Trust,
    expect: Expect,
    provider: Arc<CryptoProvider>,
}

impl FarmVerifier {
    pub(crate) fn with_roots(roots: RootCertStore, expect: Expect) -> Result<Self, Error> {
        let provider = crate::provider();
        let trust = Trust::Roots(webpki(roots, &provider)?);
        Ok(Self {
            trust,
            expect,
            provider,
        })
    }

    pub(crate) fn with_pin(fingerprint: Fingerprint, expect: Expect) -> Self {
        Self {
            trust: Trust::Pin(fingerprint),
            expect,
            provider: crate::provider(),
        }
    }

    fn check_identity(&self, certificate: &[u8]) -> Result<(), Error> {
        let Expect::Exactly(expected) = &self.expect else {
            return Ok(());
        };
        let found = identity_of(certificate).map_err(other)?;
        if found == *expected {
            return Ok(());
        }
        Err(other(Unexpected::Identity {
            found,
            expected: expected.clone(),
        }))
    }
}

impl ServerCertVerifier for FarmVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name =
            ServerName::try_from(SERVER_NAME).map_err(|_| CertificateError::NotValidForName)?;
        let verified = match &self.trust {
            Trust::Roots(roots) => {
                roots.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?
            }
            Trust::Pin(pin) => pinned(*pin, intermediates, &self.provider)?.verify_server_cert(
                end_entity,
                intermediates,
                &name,
                ocsp_response,
                now,
            )?,
        };
        self.check_identity(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A verifier that trusts the one presented certificate with the pinned fingerprint, and nothing else.
fn pinned(
    pin: Fingerprint,
    presented: &[CertificateDer<'_>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let ca = presented
        .iter()
        .find(|certificate| Fingerprint::of_der(certificate) == pin)
        .ok_or_else(|| other(Unexpected::Fingerprint(pin)))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    webpki(roots, provider)
}

fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
