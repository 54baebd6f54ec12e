//! What an image is, and whether it is sound.

use super::{ImageError, ImageTool, failed};
use godwit_model::{units::Bytes, vm::DiskFormat};
use serde::{Deserialize, Serialize};
use std::{ffi::OsStr, path::Path};

/// `qemu-img info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
pub struct ImageInfo {
    /// `qcow2`, `raw`, `vmdk`, …
    pub format: String,
    /// The size the guest sees.
    pub virtual_size: Bytes,
    /// What it takes on the host's disk.
    #[serde(default)]
    pub actual_size: Bytes,
    /// The backing file, as written in the image.
    #[serde(default)]
    pub backing_filename: Option<String>,
    /// Its format, as written in the image.
    #[serde(default)]
    pub backing_filename_format: Option<String>,
    /// What only this format has.
    #[serde(default)]
    pub format_specific: serde_json::Value,
}

impl ImageInfo {
    /// Another file that this image needs, if any.
    pub(super) fn other_file(&self, path: &Path) -> Option<String> {
        if let Some(backing) = &self.backing_filename {
            return Some(backing.clone());
        }
        let data = &self.format_specific["data"];
        if let Some(file) = data["data-file"].as_str() {
            return Some(file.to_owned());
        }
        // A monolithic vmdk has one extent: itself.
        let extents = data["extents"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let names = extents
            .iter()
            .filter_map(|extent| extent["filename"].as_str());
        names
            .into_iter()
            .find(|name| Path::new(name) != path)
            .map(str::to_owned)
    }
}

/// `qemu-img check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
pub struct CheckReport {
    /// Errors that can lose data.
    #[serde(default)]
    pub corruptions: u64,
    /// Space that is lost, and nothing else.
    #[serde(default)]
    pub leaks: u64,
    /// Errors of the check itself.
    #[serde(default)]
    pub check_errors: u64,
}

impl CheckReport {
    /// Whether the data are sound; leaks only waste space.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.check_errors == 0
    }
}

impl ImageTool {
    /// What an image is. Works on images in use. With `format` none the format is guessed, which
    /// is only for files that no guest has written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn info(
        &self,
        path: &Path,
        format: Option<DiskFormat>,
    ) -> Result<ImageInfo, ImageError> {
        let mut arguments: Vec<&OsStr> = vec!["-U".as_ref(), "--output=json".as_ref()];
        if let Some(format) = format {
            arguments.extend([OsStr::new("-f"), format.as_str().as_ref()]);
        }
        arguments.push(path.as_ref());
        let answer = self.run("info", path, arguments).await?;
        serde_json::from_slice(&answer).map_err(|source| ImageError::Answer {
            action: "info",
            source,
        })
    }

    /// Whether an image is sound. Refused while a guest uses it. Raw images have nothing to check.
    ///
    /// # Errors
    /// If it cannot be checked; what is found is in the report.
    pub async fn check(&self, path: &Path, format: DiskFormat) -> Result<CheckReport, ImageError> {
        let mut command = self.command("check");
        command
            .args(["--output=json", "-f", format.as_str()])
            .arg(path);
        let output = command
            .output()
            .await
            .map_err(|error| self.cannot_start(error))?;
        match output.status.code() {
            // Sound, corrupt, leaking: see qemu-img(1).
            Some(0 | 2 | 3) => {
                serde_json::from_slice(&output.stdout).map_err(|source| ImageError::Answer {
                    action: "check",
                    source,
                })
            }
            // The format has no check.
            Some(63) => Ok(CheckReport {
                corruptions: 0,
                leaks: 0,
                check_errors: 0,
            }),
            _ => Err(failed("check", path, &output.stderr)),
        }
    }
}
