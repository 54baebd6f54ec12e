//! What can go wrong while an image is built, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Device nodes and owners of files need root.
    #[error("building an image needs root: run it with sudo")]
    NotRoot,
    /// A program of the distribution is missing.
    #[error("`{program}` is missing: run `make setup`, or install the Debian package {package}")]
    Missing {
        /// The program or file.
        program: &'static str,
        /// Who provides it.
        package: &'static str,
    },
    /// No Debian source to take packages from.
    #[error(
        "no Debian package source for `{codename}` or this host's own release in /etc/apt: add one"
    )]
    NoSource {
        /// The release that is built.
        codename: &'static str,
    },
    /// A file or folder.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: run `make setup`")]
    Start {
        /// Which one.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{what} failed ({status}); the last it said:\n{said}")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// How it ended.
        status: String,
        /// The end of its output.
        said: String,
    },
    /// The tree does not look as expected.
    #[error(
        "the new system has no {0}: the distribution's packages have changed, and the recipe must follow"
    )]
    Recipe(&'static str),
    /// The socket's path would not fit.
    #[error("the cache folder {} has too long a path for the database's socket: use one of at most 60 characters", .0.display())]
    LongPath(PathBuf),
    /// The database could not be loaded.
    #[error("cannot load the DVD Store into the new image")]
    Load(#[from] godwit_dvdstore::load::LoadError),
    /// A build is under way.
    #[error("another `godwit image build` works on {}: wait until it is done", .0.display())]
    Busy(PathBuf),
    /// Ctrl-C.
    #[error("interrupted: what was half made has been removed")]
    Interrupted,
}

impl ImageError {
    /// For `map_err`: what was tried with which file.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
