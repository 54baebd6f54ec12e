//! The farm's certificate authority: one self-signed CA that signs every leaf directly.
//!
//! Invariant: the identity in a certificate always comes from the signer. What a request says about its subject is
//! thrown away, only its public key is used (its signature proves that the sender holds the private key).

use std::{fmt, net::IpAddr};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Fingerprint, Identity, IdentityError, PemError, SERVER_NAME, pem};

/// How long the CA certificate is valid.
const CA_VALIDITY: Duration = Duration::days(3650);
/// How long a leaf certificate is valid.
const LEAF_VALIDITY: Duration = Duration::days(730);
/// How far a host's clock may be behind the manager's and still accept a certificate made this moment.
const CLOCK_SKEW: Duration = Duration::minutes(10);

/// A key or certificate that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificate library refused.
    #[error("cannot make or read a key, request or certificate")]
    Crypto(#[from] rcgen::Error),
    /// Text that is not PEM.
    #[error("cannot read the CA certificate")]
    Pem(#[from] PemError),
    /// The identity to write into a certificate is unusable.
    #[error("cannot write this identity into a certificate")]
    Identity(#[from] IdentityError),
    /// The loaded certificate is not one of a CA.
    #[error("the certificate is not a CA's; give the farm's ca.pem")]
    NotACa,
    /// The loaded key is not the one of the certificate.
    #[error(
        "the key does not belong to the CA certificate; restore ca.pem and ca.key from the same backup"
    )]
    KeyMismatch,
    /// A subject alternative name that is not a DNS name.
    #[error("\"{0}\" is not a DNS name; use letters, digits, '-' and '.'")]
    BadDnsName(String),
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Random,
}

/// A certificate chain and its private key, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyedCert {
    /// The leaf certificate; certificates that follow it are sent along.
    pub cert_pem: String,
    /// The private key (PKCS #8). Keep it in files of mode 0600 only.
    pub key_pem: String,
}

impl fmt::Debug for KeyedCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not end up in a log.
        f.debug_struct("KeyedCert")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// A new private key and the signing request for it: what a joining host makes.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The certificate signing request, to be sent to the manager.
    pub csr_pem: String,
    /// The private key, which never leaves the host.
    pub key_pem: String,
}

impl fmt::Debug for KeyedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRequest")
            .field("csr_pem", &self.csr_pem)
            .finish_non_exhaustive()
    }
}

impl KeyedRequest {
    /// Makes a key and the request for it.
    pub fn generate() -> Result<Self, CaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params.serialize_request(&key)?.pem()?;
        Ok(Self {
            csr_pem,
            key_pem: key.serialize_pem(),
        })
    }

    /// Puts the signed certificate beside the key.
    #[must_use]
    pub fn with_certificate(self, cert_pem: String) -> KeyedCert {
        KeyedCert {
            cert_pem,
            key_pem: self.key_pem,
        }
    }
}

/// Names and addresses under which a certificate's holder is reached; [`SERVER_NAME`] is always added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

impl SubjectNames {
    /// Only addresses.
    #[must_use]
    pub fn addresses(ip: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            dns: Vec::new(),
            ip: ip.into_iter().collect(),
        }
    }

    fn to_sans(&self) -> Result<Vec<SanType>, CaError> {
        let mut sans = Vec::new();
        for name in std::iter::once(SERVER_NAME).chain(self.dns.iter().map(String::as_str)) {
            let name = name
                .try_into()
                .map_err(|_| CaError::BadDnsName(name.to_owned()))?;
            if !sans.contains(&SanType::DnsName(Clone::clone(&name))) {
                sans.push(SanType::DnsName(name));
            }
        }
        sans.extend(self.ip.iter().copied().map(SanType::IpAddress));
        Ok(sans)
    }
}

/// The farm's CA with its private key. Only the manager holds it.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    cert_pem: String,
    key_pem: String,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl Ca {
    /// Makes a new CA, valid for ten years.
    pub fn create(common_name: &str) -> Result<Self, CaError> {
        let key = KeyPair::generate()?;
        let mut params = params(common_name, CA_VALIDITY)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    /// Loads a CA and checks that it is one and that key and certificate belong together.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let certificate = pem::first_certificate(cert_pem)?;
        let key = KeyPair::from_pem(key_pem)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| CaError::NotACa)?;
        if !parsed.is_ca() {
            return Err(CaError::NotACa);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(CaError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            issuer,
            certificate,
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        })
    }

    /// The CA certificate, to be handed to everybody.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's private key. Whoever has it is the farm: files of mode 0600 only.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The fingerprint of the CA certificate, the second half of a join token.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_der(&self.certificate)
    }

    /// Signs the public key of a request for `identity`. Everything else that the request says is ignored.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        identity: &Identity,
        names: &SubjectNames,
    ) -> Result<String, CaError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        self.sign(&request.public_key, identity, names)
    }

    /// Makes a key and a certificate for `identity`.
    pub fn issue(&self, identity: &Identity, names: &SubjectNames) -> Result<KeyedCert, CaError> {
        let key = KeyPair::generate()?;
        let cert_pem = self.sign(&key, identity, names)?;
        Ok(KeyedCert {
            cert_pem,
            key_pem: key.serialize_pem(),
        })
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        identity: &Identity,
        names: &SubjectNames,
    ) -> Result<String, CaError> {
        identity.validate()?;
        let mut params = params(&identity.to_string(), LEAF_VALIDITY)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if identity.serves() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names = names.to_sans()?;
        }
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// What the CA's own certificate and the leaves have in common.
fn params(common_name: &str, validity: Duration) -> Result<CertificateParams, CaError> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + validity;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// A serial number of 127 random bits: positive, as X.509 wants it.
fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    crate::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| CaError::Random)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity_of;

    fn identity_in(cert_pem: &str) -> Identity {
        identity_of(&pem::first_certificate(cert_pem).unwrap()).unwrap()
    }

    #[test]
    fn the_signer_and_not_the_request_says_who_it_is() {
        let ca = Ca::create("farm").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut liar = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        liar.distinguished_name.push(DnType::CommonName, "manager");
        liar.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let csr = liar.serialize_request(&key).unwrap().pem().unwrap();

        let host = Identity::Agent("host-1".into());
        let cert = ca.sign_csr(&csr, &host, &SubjectNames::default()).unwrap();

        assert_eq!(identity_in(&cert), host);
        let der = pem::first_certificate(&cert).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.is_ca());
        let names = format!(
            "{:?}",
            parsed.subject_alternative_name().unwrap().unwrap().value
        );
        assert!(
            names.contains(SERVER_NAME) && !names.contains("evil"),
            "{names}"
        );
    }

    #[test]
    fn a_ca_loads_only_with_its_own_key() {
        let ca = Ca::create("farm").unwrap();
        let other = Ca::create("farm").unwrap();
        let again = Ca::load(ca.cert_pem(), ca.key_pem()).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        assert_ne!(other.fingerprint(), ca.fingerprint());
        assert!(matches!(
            Ca::load(ca.cert_pem(), other.key_pem()),
            Err(CaError::KeyMismatch)
        ));

        let leaf = ca
            .issue(&Identity::Manager, &SubjectNames::default())
            .unwrap();
        assert!(matches!(
            Ca::load(&leaf.cert_pem, &leaf.key_pem),
            Err(CaError::NotACa)
        ));
    }

    #[test]
    fn secrets_do_not_reach_debug_output() {
        let ca = Ca::create("farm").unwrap();
        let leaf = ca
            .issue(&Identity::Manager, &SubjectNames::default())
            .unwrap();
        let request = KeyedRequest::generate().unwrap();
        for text in [
            format!("{ca:?}"),
            format!("{leaf:?}"),
            format!("{request:?}"),
        ] {
            assert!(!text.contains("PRIVATE KEY"), "{text}");
        }
    }

    #[test]
    fn unusable_identities_and_names_are_refused() {
        let ca = Ca::create("farm").unwrap();
        let bad = Identity::Agent("a:b".into());
        assert!(matches!(
            ca.issue(&bad, &SubjectNames::default()),
            Err(CaError::Identity(_))
        ));
        let names = SubjectNames {
            dns: vec!["büro".into()],
            ip: vec![],
        };
        assert!(matches!(
            ca.issue(&Identity::Manager, &names),
            Err(CaError::BadDnsName(_))
        ));
        assert!(matches!(
            ca.sign_csr("garbage", &Identity::Manager, &SubjectNames::default()),
            Err(CaError::Crypto(_))
        ));
    }
}
