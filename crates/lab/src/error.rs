//! What can go wrong with a lab, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use godwit_net::NetError;

use crate::plan::Plan;

/// Why a lab did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The network refused.
    #[error("the lab's network: {0}")]
    Net(#[from] NetError),
    /// A file or folder of the lab's.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call.
    #[error("cannot {action}: the lab needs root and a kernel with namespaces")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// `lab.json` is not what this version writes.
    #[error("{path} cannot be read: run `godwit lab down --dir {dir}` and start anew", dir = path.parent().unwrap_or(path).display(), path = path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What did not fit.
        source: serde_json::Error,
    },
    /// The choice makes no lab.
    #[error("{0}")]
    Choice(String),
    /// Another lab is up.
    #[error(
        "a lab is up on this machine already, in {dir}: take it down with `godwit lab down --dir {dir}`, or use it"
    )]
    Another {
        /// Where it lives.
        dir: String,
    },
    /// Two commands at once.
    #[error("another `godwit lab` command works on {dir}: wait until it is done", dir = dir.display())]
    Busy {
        /// The lab's folder.
        dir: PathBuf,
    },
    /// The addresses are in use.
    #[error(
        "the lab's network {network} overlaps {taken}, which this machine has on {interface}: choose another with `{option}`"
    )]
    Overlap {
        /// The lab's network.
        network: String,
        /// The address in the way.
        taken: String,
        /// Its interface.
        interface: String,
        /// The option that chooses another.
        option: &'static str,
    },
    /// Nothing is up.
    #[error("no lab is up in {dir}: start one with `godwit lab up --dir {dir}`", dir = dir.display())]
    NotUp {
        /// The lab's folder.
        dir: PathBuf,
    },
    /// No such blade.
    #[error("there is no blade {name:?}: this lab has {known}")]
    NoBlade {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A process did not start or do what it should.
    #[error("{what}; see {log}", log = log.display())]
    Process {
        /// What was expected of it.
        what: String,
        /// Where it wrote why.
        log: PathBuf,
    },
    /// The manager refused or did not answer.
    #[error("the lab's manager: {0}")]
    Manager(String),
    /// Ctrl-C.
    #[error("interrupted: what was made has been taken down again")]
    Interrupted,
}

impl LabError {
    pub(crate) fn no_blade(name: &str, plan: &Plan) -> Self {
        let known: Vec<&str> = plan
            .blades
            .iter()
            .map(|blade| blade.name.as_str())
            .collect();
        Self::NoBlade {
            name: name.into(),
            known: known.join(", "),
        }
    }

    /// For `map_err`: a file that could not be …ed.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For `map_err`: a system call that failed.
    pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::System {
            action,
            source: error.into(),
        }
    }
}
