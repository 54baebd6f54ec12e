//! What `godwit doctor` reports: one entry per thing that this host must have, each with its remedy.
//!
//! The checks themselves live beside what they check (`godwit_qemu::doctor`, `godwit_net::doctor`,
//! `godwit_lease::doctor`); here is only their common shape, so that the command can merge them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How one check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// An agent can run, but worse than it could.
    Warning,
    /// An agent cannot run, or could not be trusted.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Stable, for scripts: `kvm`, `qemu.version`, `net.bridge`, …
    pub id: String,
    /// For people.
    pub title: String,
    /// How it came out.
    pub state: CheckState,
    /// What was found, with figures where there are any.
    pub found: String,
    /// What to do about it; none if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

impl Check {
    /// A check that passed.
    pub fn ok(id: &str, title: &str, found: impl Into<String>) -> Self {
        Self::new(id, title, CheckState::Ok, found.into(), None)
    }

    /// A check that leaves the agent able to run, with what would make it better.
    pub fn warning(
        id: &str,
        title: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self::new(id, title, CheckState::Warning, found.into(), remedy)
    }

    /// A check that must be mended before an agent can run.
    pub fn failed(
        id: &str,
        title: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self::new(id, title, CheckState::Failed, found.into(), remedy)
    }

    fn new(
        id: &str,
        title: &str,
        state: CheckState,
        found: String,
        remedy: Option<String>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            state,
            found,
            remedy,
        }
    }
}

/// The worst state among `checks`; `Ok` if there are none.
pub fn worst(checks: &[Check]) -> CheckState {
    checks
        .iter()
        .map(|check| check.state)
        .max()
        .unwrap_or(CheckState::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_decides() {
        let checks = [
            Check::ok("a", "A", "fine"),
            Check::failed("b", "B", "gone", "bring it back"),
            Check::warning("c", "C", "slow", "be patient"),
        ];
        assert_eq!(worst(&checks), CheckState::Failed);
        assert_eq!(worst(&checks[..1]), CheckState::Ok);
        assert_eq!(worst(&[]), CheckState::Ok);
    }
}
