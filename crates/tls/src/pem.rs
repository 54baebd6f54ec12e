//! Reading PEM text: certificates and private keys.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// A PEM text that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The text holds no certificate.
    #[error("no certificate in the PEM text; expected a block \"BEGIN CERTIFICATE\"")]
    NoCertificate,
    /// A block cannot be decoded.
    #[error("a PEM block is damaged; write the file anew from its origin")]
    Damaged(#[source] rustls::pki_types::pem::Error),
}

/// All certificates of a PEM text, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(PemError::Damaged)?;
    if certificates.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(certificates)
}

/// The first certificate of a PEM text.
pub fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, PemError> {
    Ok(certificates(pem)?.swap_remove(0))
}

/// The private key of a PEM text.
pub fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(PemError::Damaged)
}
