//! Identities. Each kind of thing has an id type of its own, so that a task's id never
//! stands where a VM's is meant.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: give the id as `godwit … list --output json` shows it")]
pub struct InvalidId {
    /// What was given.
    pub text: String,
    /// The kind that was expected, for the message.
    pub kind: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = "uuid")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| InvalidId { text: text.to_owned(), kind: $kind })
            }
        }
    };
}

uuid_id!(
    /// A virtual machine, for all its life and on all hosts.
    VmId, "VM"
);
uuid_id!(
    /// One attempt to move one VM.
    MigrationId, "migration"
);
uuid_id!(
    /// A piece of work of the manager that takes time.
    TaskId, "task"
);
uuid_id!(
    /// A template (golden master).
    TemplateId, "template"
);

/// A host of the farm: given at joining, stable over restarts and renames.
///
/// Short and printable, because it stands in certificates, epoch files and file names:
/// 1 to 57 characters of `a-z 0-9 - .` (a certificate's common name has room for no more).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct HostId(String);

impl HostId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if is_label(text) && text.len() <= 57 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                text: text.to_owned(),
                kind: "host",
            })
        }
    }
}

impl TryFrom<String> for HostId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<HostId> for String {
    fn from(id: HostId) -> Self {
        id.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a text can be a name in file names, certificates and DNS:
/// 1 to 63 characters of `a-z 0-9 - .`, beginning and ending with a letter or digit.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_json() {
        let id = VmId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let host: HostId = "blade1".parse().expect("a plain name");
        let json = serde_json::to_string(&host).expect("serializes");
        assert_eq!(json, "\"blade1\"");
        assert_eq!(serde_json::from_str::<HostId>(&json).expect("parses"), host);
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in [
            "",
            "..",
            "../x",
            "a/b",
            "A",
            "-a",
            "a-",
            "a b",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<HostId>().is_err(), "{bad:?}");
            assert!(serde_json::from_str::<HostId>(&format!("{bad:?}")).is_err());
        }
    }
}
