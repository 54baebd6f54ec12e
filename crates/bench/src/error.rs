//! Why the bench could not measure, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use godwit_api::http::CallError;
use godwit_dvdstore::connect::UrlError;
use godwit_dvdstore::load::LoadError;
use godwit_lab::LabError;
use godwit_net::NetError;
use godwit_net::echo::EchoError;
use godwit_qemu::binary::BinaryError;
use godwit_qemu::hardware::HardwareError;
use godwit_qemu::qmp::QmpError;

/// Why the bench could not measure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Cards, taps, shaping.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The echo probe does not run.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// QEMU is not installed.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// The VM does not fit the hardware contract.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// The template's database is not the workload's.
    #[error(transparent)]
    Store(#[from] LoadError),
    /// An address is not one.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The lab, or what was asked for, does not suit the bench.
    #[error("{0}")]
    Setup(String),
    /// A file.
    #[error("cannot {action} {}: run as root, and see that its disk has room", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process could not be started in a blade.
    #[error("cannot start {program} in {blade}: is the lab up, and is this root?")]
    Spawn {
        /// The program.
        program: String,
        /// The blade.
        blade: String,
        /// Why not.
        source: io::Error,
    },
    /// A QEMU that the bench drives refused.
    #[error("{what} did not work")]
    Qmp {
        /// What was asked of it.
        what: String,
        /// Why not.
        source: QmpError,
    },
    /// The manager did not do what was asked.
    #[error("{what} did not work")]
    Call {
        /// What was asked for.
        what: String,
        /// Why not.
        source: CallError,
    },
    /// A task of the manager's, or a program, failed.
    #[error("{what} did not work: {reason}")]
    Failed {
        /// What was wanted.
        what: String,
        /// What is known of the reason.
        reason: String,
    },
    /// A VM did not come up.
    #[error("{vm} did not answer queries within {seconds} s ({last}): look at its console")]
    NotReady {
        /// The VM.
        vm: String,
        /// How long it was waited for.
        seconds: u64,
        /// What the last attempt said.
        last: String,
    },
    /// The load in a guest could not be started.
    #[error("{vm}: its load does not start")]
    Load {
        /// The VM.
        vm: String,
        /// Why not.
        source: tokio_postgres::Error,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// For `map_err`: an action on a file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For `map_err`: something asked of a QEMU.
    pub(crate) fn qmp(what: impl Into<String>) -> impl FnOnce(QmpError) -> Self {
        let what = what.into();
        move |source| Self::Qmp { what, source }
    }

    /// For `map_err`: something asked of the manager.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(CallError) -> Self {
        let what = what.into();
        move |source| Self::Call { what, source }
    }

    /// Something that failed for a reason given in words.
    pub(crate) fn failed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// The error and its causes in one line.
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
