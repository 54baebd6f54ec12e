//! Who a certificate belongs to: its subject's common name.

use std::{fmt, str::FromStr};

use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest id, in characters: X.509 allows 64 for a common name, the prefix takes up to 7.
const MAX_ID: usize = 57;

/// Who holds a certificate of the farm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// The farm's manager: `manager`.
    Manager,
    /// The agent of a host, with the host's id: `agent:<host id>`.
    Agent(String),
    /// A migration relay of a host, with the host's id: `relay:<host id>`.
    Relay(String),
    /// A program or person that only calls and never serves: `client:<name>`.
    Client(String),
}

/// A name or certificate that says nothing usable about its holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The name has none of the known forms.
    #[error(
        "\"{0}\" names nobody; expected manager, agent:<host id>, relay:<host id> or client:<name>"
    )]
    Unknown(String),
    /// The id after the colon is empty, too long or has characters other than letters, digits, `.`, `_`, `-`.
    #[error("\"{0}\" has no usable id; use 1 to 57 letters, digits, '.', '_' or '-'")]
    BadId(String),
    /// The certificate cannot be parsed.
    #[error("not an X.509 certificate; give the DER form of one certificate")]
    BadCertificate,
    /// The certificate's subject has no common name or several.
    #[error("the certificate's subject must have exactly one common name")]
    NoSingleName,
}

impl Identity {
    /// Whether certificates of this identity may be used to serve.
    #[must_use]
    pub fn serves(&self) -> bool {
        !matches!(self, Self::Client(_))
    }

    /// Checks that the id in it can be written into a certificate and read back.
    pub fn validate(&self) -> Result<(), IdentityError> {
        match self {
            Self::Manager => Ok(()),
            Self::Agent(id) | Self::Relay(id) | Self::Client(id) => {
                let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                if id.is_empty() || id.len() > MAX_ID || !id.chars().all(usable) {
                    return Err(IdentityError::BadId(self.to_string()));
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager => f.write_str("manager"),
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Relay(id) => write!(f, "relay:{id}"),
            Self::Client(name) => write!(f, "client:{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let identity = match text.split_once(':') {
            None if text == "manager" => Self::Manager,
            Some(("agent", id)) => Self::Agent(id.to_owned()),
            Some(("relay", id)) => Self::Relay(id.to_owned()),
            Some(("client", name)) => Self::Client(name.to_owned()),
            _ => return Err(IdentityError::Unknown(text.to_owned())),
        };
        identity.validate()?;
        Ok(identity)
    }
}

/// Reads the identity out of a certificate in DER form. It does not check the signature: use it on certificates that
/// a TLS handshake has verified.
pub fn identity_of(certificate: &[u8]) -> Result<Identity, IdentityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::BadCertificate)?;
    let mut names = parsed.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(IdentityError::NoSingleName);
    };
    name.as_str()
        .map_err(|_| IdentityError::NoSingleName)?
        .parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for identity in [
            Identity::Manager,
            Identity::Agent("host-1".into()),
            Identity::Relay("7f9c2ba4-e88f-4f2a-9d3c-0f6a1b2c3d4e".into()),
            Identity::Client("ann".into()),
        ] {
            assert_eq!(identity.to_string().parse::<Identity>(), Ok(identity));
        }
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for text in [
            "",
            "manager ",
            "Manager",
            "manager:",
            "agent",
            "agent:",
            "agent:a b",
            "agent:a:b",
            "relay:ü",
            "root:x",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?} was accepted");
        }
        assert!(
            format!("agent:{}", "a".repeat(MAX_ID + 1))
                .parse::<Identity>()
                .is_err()
        );
    }

    #[test]
    fn garbage_is_not_a_certificate() {
        assert_eq!(identity_of(b"garbage"), Err(IdentityError::BadCertificate));
    }
}
