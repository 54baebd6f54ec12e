//! Copying images from one format to another, with progress.

use super::{ImageError, ImageTool, Unfinished, failed};
use godwit_model::vm::DiskFormat;
use std::{path::Path, process::Stdio};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// QEMU copy on write.
    Qcow2,
    /// Plain blocks.
    Raw,
    /// VMware.
    Vmdk,
}

impl SourceFormat {
    /// The name that QEMU knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Qcow2, Self::Raw, Self::Vmdk]
            .into_iter()
            .find(|format| format.as_str() == name)
    }
}

impl ImageTool {
    /// Copies an image, its backing files included, into one complete file of `to_format`.
    /// `progress` is called with 0 to 100.
    ///
    /// # Errors
    /// If the target exists, the source cannot be read, or there is no space. The target is then
    /// removed.
    pub async fn convert(
        &self,
        from: &Path,
        from_format: SourceFormat,
        to: &Path,
        to_format: DiskFormat,
        progress: impl FnMut(f32) + Send,
    ) -> Result<(), ImageError> {
        let unfinished = Unfinished::begin(to)?;
        let mut command = self.command("convert");
        command.args(["-p", "-f", from_format.as_str(), "-O", to_format.as_str()]);
        command
            .arg(from)
            .arg(to)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.cannot_start(error))?;
        let stdout = child.stdout.take().expect("it was made a pipe above");
        // Both pipes are read at once, or a full one would stop the child.
        let (followed, output) = tokio::join!(follow(stdout, progress), child.wait_with_output());
        let output = output.map_err(ImageError::Output)?;
        if !output.status.success() {
            return Err(failed("convert", from, &output.stderr));
        }
        followed.map_err(ImageError::Output)?;
        unfinished.keep();
        Ok(())
    }

    /// Imports a user's image as a qcow2 file. With `format` none it is guessed. Images that
    /// refer to other files are refused: the names in them could be any file of this host.
    ///
    /// # Errors
    /// As [`Self::convert`], or if the image is not complete in itself.
    pub async fn import(
        &self,
        from: &Path,
        format: Option<SourceFormat>,
        to: &Path,
        progress: impl FnMut(f32) + Send,
    ) -> Result<(), ImageError> {
        let format = match format {
            // Raw data name no files, whatever they look like.
            Some(SourceFormat::Raw) => SourceFormat::Raw,
            expected => self.complete_format(from, expected).await?,
        };
        self.convert(from, format, to, DiskFormat::Qcow2, progress)
            .await
    }

    async fn complete_format(
        &self,
        path: &Path,
        expected: Option<SourceFormat>,
    ) -> Result<SourceFormat, ImageError> {
        let info = self.info(path, None).await?;
        let found = SourceFormat::from_name(&info.format);
        let Some(format) = found.filter(|f| expected.is_none_or(|expected| expected == *f)) else {
            return Err(ImageError::UnknownFormat {
                path: path.to_owned(),
                format: info.format,
            });
        };
        match info.other_file(path) {
            Some(other) => Err(ImageError::Incomplete {
                path: path.to_owned(),
                other,
            }),
            None => Ok(format),
        }
    }
}

/// Reads `    (12.34/100%)\r` again and again.
async fn follow(
    mut output: impl AsyncRead + Unpin,
    mut progress: impl FnMut(f32),
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while output.read_buf(&mut buffer).await? > 0 {
        if let Some(percent) = last_percent(&buffer) {
            progress(percent);
        }
        // Keep what may be the beginning of the next figure.
        let line = buffer
            .iter()
            .rposition(|byte| *byte == b'\r')
            .map_or(0, |at| at + 1);
        buffer.drain(..line);
    }
    Ok(())
}

fn last_percent(text: &[u8]) -> Option<f32> {
    let text = std::str::from_utf8(text).ok()?;
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, figure) = before.rsplit_once('(')?;
    figure.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        assert_eq!(
            last_percent(b"    (0.00/100%)\r    (12.34/100%)\r    (13"),
            Some(12.34)
        );
        assert_eq!(last_percent(b"    (12.3"), None);
        assert_eq!(last_percent(b"(x/100%)"), None);
    }
}
