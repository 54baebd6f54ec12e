//! Why a run could not be made. What merely spoils its figures is no error but a reason in the
//! report.

use godwit_api::http::CallError;
use godwit_dvdstore::audit::AuditError;
use godwit_dvdstore::connect::UrlError;
use godwit_dvdstore::load::LoadError;
use godwit_net::echo::EchoError;

use crate::profile::ProfileError;
use crate::raw::RawError;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The folder cannot be used.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// The manager did not do what was asked.
    #[error("{what} did not work")]
    Call {
        /// What was asked for.
        what: String,
        /// Why not.
        source: CallError,
    },
    /// A task failed.
    #[error("{what} did not work: {reason}")]
    Task {
        /// What was asked for.
        what: String,
        /// What the task says.
        reason: String,
    },
    /// The farm is not what the test needs.
    #[error("the farm cannot run this test: {0}")]
    Farm(String),
    /// A VM did not come up.
    #[error(
        "{vm} did not answer queries within {seconds} s ({last}); look at its console, or boot fewer at once with --boots-at-once"
    )]
    NotReady {
        /// The VM.
        vm: String,
        /// How long it was waited for.
        seconds: u64,
        /// What the last attempt said.
        last: String,
    },
    /// The database in the template is not the workload's.
    #[error(transparent)]
    Store(#[from] LoadError),
    /// An address is not one.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The echo probe does not run.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// The audit could not be made.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The rate could not be found.
    #[error("no rate gives {target} % CPU: {why}; give a rate with --load 50opm")]
    Calibration {
        /// What was wanted.
        target: f64,
        /// Why it was not found.
        why: String,
    },
    /// Ctrl-C before anything was measured.
    #[error("interrupted before anything was measured")]
    Interrupted,
}

impl RunError {
    /// The error and its causes in one line, for the report.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }
}

/// Says what was asked for when a call fails.
pub trait Asked<T> {
    /// Names the call.
    ///
    /// # Errors
    /// The call's, with its name.
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, RunError>;
}

impl<T> Asked<T> for Result<T, CallError> {
    fn asked(self, what: impl FnOnce() -> String) -> Result<T, RunError> {
        self.map_err(|source| RunError::Call {
            what: what(),
            source,
        })
    }
}
