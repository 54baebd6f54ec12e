//! Disk images, by `qemu-img`.
//!
//! A format is always given, never guessed, where a guest could have written the file: a raw disk
//! whose guest writes a qcow2 header into its first block would otherwise name any file of the
//! host as its backing file. A user's image is guessed once, at import, and must be complete in
//! itself. What could not be finished is removed. Dropping a future ends its `qemu-img`.

mod convert;
mod info;

pub use convert::SourceFormat;
pub use info::{CheckReport, ImageInfo};

use crate::binary::{BinaryError, IMG, find_in_path};
use godwit_model::{units::Bytes, vm::DiskFormat};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// Why an image operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `qemu-img` cannot be started.
    #[error("{} cannot be started: install the package qemu-utils", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `qemu-img` refused.
    #[error("qemu-img {action} {} failed: {reason}", path.display())]
    Failed {
        /// Its subcommand.
        action: &'static str,
        /// The image.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The target exists: nothing is overwritten.
    #[error("{} exists already: remove it or choose another name", .0.display())]
    Exists(PathBuf),
    /// Backing files must be found from every host.
    #[error("backing file {} must be an absolute path", .0.display())]
    RelativeBacking(PathBuf),
    /// An image that consists of several files.
    #[error(
        "{} refers to another file ({other}): flatten it first, with `qemu-img convert`",
        path.display()
    )]
    Incomplete {
        /// The image.
        path: PathBuf,
        /// The file it needs.
        other: String,
    },
    /// A format that is not imported.
    #[error("{} is in format {format}: only qcow2, raw and vmdk can be imported", path.display())]
    UnknownFormat {
        /// The image.
        path: PathBuf,
        /// What `qemu-img` calls it.
        format: String,
    },
    /// `qemu-img` answered something else than it promises.
    #[error("the answer of qemu-img {action} cannot be understood: is this version supported?")]
    Answer {
        /// Its subcommand.
        action: &'static str,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// Reading its output failed.
    #[error("cannot read what qemu-img says")]
    Output(#[source] io::Error),
}

/// `qemu-img` on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTool {
    program: PathBuf,
}

impl ImageTool {
    /// The one in `PATH`.
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Self, BinaryError> {
        Ok(Self {
            program: find_in_path(IMG)?,
        })
    }

    /// This very program.
    #[must_use]
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// Creates an empty image; it takes no space yet.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub async fn create(
        &self,
        path: &Path,
        format: DiskFormat,
        size: Bytes,
    ) -> Result<(), ImageError> {
        let size = size.0.to_string();
        let arguments = [
            OsStr::new("-f"),
            format.as_str().as_ref(),
            path.as_ref(),
            size.as_ref(),
        ];
        self.create_new(path, &arguments).await
    }

    /// Creates a qcow2 overlay: it holds what differs from `backing`, which must never change
    /// again. Takes some 20 ms whatever the size. Without `size` it is as large as the backing.
    ///
    /// # Errors
    /// If the file exists, the backing file is missing, or its path is relative.
    pub async fn create_overlay(
        &self,
        path: &Path,
        backing: &Path,
        backing_format: DiskFormat,
        size: Option<Bytes>,
    ) -> Result<(), ImageError> {
        if !backing.is_absolute() {
            return Err(ImageError::RelativeBacking(backing.to_owned()));
        }
        let size = size.map(|size| size.0.to_string());
        let mut arguments = ["-f", "qcow2", "-F", backing_format.as_str(), "-b"]
            .map(OsStr::new)
            .to_vec();
        arguments.push(backing.as_ref());
        arguments.push(path.as_ref());
        arguments.extend(size.as_deref().map(OsStr::new));
        self.create_new(path, &arguments).await
    }

    /// Makes an image larger.
    ///
    /// # Errors
    /// If it is in use or would become smaller.
    pub async fn resize(
        &self,
        path: &Path,
        format: DiskFormat,
        size: Bytes,
    ) -> Result<(), ImageError> {
        let size = size.0.to_string();
        let arguments = [OsStr::new("-q"), "-f".as_ref(), format.as_str().as_ref()];
        let arguments = arguments.into_iter().chain([path.as_ref(), size.as_ref()]);
        self.run("resize", path, arguments).await.map(drop)
    }

    async fn create_new(&self, path: &Path, arguments: &[&OsStr]) -> Result<(), ImageError> {
        let unfinished = Unfinished::begin(path)?;
        let quiet = [OsStr::new("-q")];
        self.run("create", path, quiet.iter().chain(arguments).copied())
            .await?;
        unfinished.keep();
        Ok(())
    }

    fn command(&self, action: &'static str) -> Command {
        let mut command = Command::new(&self.program);
        // Messages are compared in tests and shown in tasks: one language.
        command
            .arg(action)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn cannot_start(&self, source: io::Error) -> ImageError {
        ImageError::Start {
            program: self.program.clone(),
            source,
        }
    }

    /// Runs to the end and returns the standard output.
    async fn run<'a>(
        &self,
        action: &'static str,
        path: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Vec<u8>, ImageError> {
        let mut command = self.command(action);
        command.args(arguments);
        let output = command
            .output()
            .await
            .map_err(|error| self.cannot_start(error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(action, path, &output.stderr))
    }
}

fn failed(action: &'static str, path: &Path, stderr: &[u8]) -> ImageError {
    let text = String::from_utf8_lossy(stderr);
    let reason = text
        .trim()
        .trim_start_matches("qemu-img: ")
        .replace('\n', "; ");
    ImageError::Failed {
        action,
        path: path.to_owned(),
        reason,
    }
}

/// A file that is removed unless it is finished.
struct Unfinished<'a>(Option<&'a Path>);

impl<'a> Unfinished<'a> {
    fn begin(path: &'a Path) -> Result<Self, ImageError> {
        if path.symlink_metadata().is_ok() {
            return Err(ImageError::Exists(path.to_owned()));
        }
        Ok(Self(Some(path)))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // It may not have been begun at all.
            let _ = std::fs::remove_file(path);
        }
    }
}
