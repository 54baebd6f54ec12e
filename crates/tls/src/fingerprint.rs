//! The CA's fingerprint: what a join token carries, so that a host with nothing but the token knows its manager.

use std::{fmt, str::FromStr};

use crate::{PemError, pem};

/// BLAKE3 hash of a certificate's DER form; printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(blake3::Hash);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate fingerprint; expected 64 hex digits (copy the whole join token)")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a certificate in DER form.
    #[must_use]
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(blake3::hash(certificate))
    }

    /// The fingerprint of the first certificate in a PEM text.
    pub fn of_pem(certificate: &str) -> Result<Self, PemError> {
        Ok(Self::of_der(&pem::first_certificate(certificate)?))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(Self)
            .map_err(|_| FingerprintError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_refusals() {
        let fingerprint = Fingerprint::of_der(b"x");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!("".parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!(
            "zz".repeat(32).parse::<Fingerprint>(),
            Err(FingerprintError)
        );
        assert_eq!(
            "ab".repeat(31).parse::<Fingerprint>(),
            Err(FingerprintError)
        );
    }
}
