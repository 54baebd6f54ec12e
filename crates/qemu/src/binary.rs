//! QEMU's programs: where they are, which version, what they offer.

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

/// The emulator.
pub const SYSTEM: &str = "qemu-system-x86_64";
/// The image tool.
pub const IMG: &str = "qemu-img";

/// A QEMU version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QemuVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Patch level.
    pub micro: u32,
}

/// How well a version is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// Tested with every change.
    Full,
    /// Expected to work.
    BestEffort,
    /// Known not to work.
    TooOld,
}

impl QemuVersion {
    /// 10.0 and later are supported, 7.2 and later are best effort.
    #[must_use]
    pub fn support(self) -> Support {
        match (self.major, self.minor) {
            (10.., _) => Support::Full,
            (8.., _) | (7, 2..) => Support::BestEffort,
            _ => Support::TooOld,
        }
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

impl FromStr for QemuVersion {
    type Err = BinaryError;

    /// From the first line of `-version`: `QEMU emulator version 10.0.2 (Debian …)`.
    fn from_str(line: &str) -> Result<Self, BinaryError> {
        let unreadable = || BinaryError::Version {
            found: line.chars().take(80).collect(),
        };
        let (_, rest) = line.split_once(" version ").ok_or_else(unreadable)?;
        let digits = rest
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .next();
        let mut parts = digits.unwrap_or_default().split('.').map(str::parse);
        let mut part = || parts.next().and_then(Result::ok).ok_or_else(unreadable);
        Ok(Self {
            major: part()?,
            minor: part()?,
            micro: part().unwrap_or(0),
        })
    }
}

/// Why QEMU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// Not installed.
    #[error("{program} is not in PATH: install the packages qemu-system-x86 and qemu-utils")]
    NotFound {
        /// Which program.
        program: String,
    },
    /// It cannot be started.
    #[error("{} cannot be started: reinstall the package it belongs to", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ends with an error.
    #[error("{} {arguments} failed: {stderr}", path.display())]
    Failed {
        /// The program.
        path: PathBuf,
        /// What it was asked.
        arguments: String,
        /// What it said.
        stderr: String,
    },
    /// Its version line is unknown.
    #[error("cannot read a QEMU version from {found:?}: is this QEMU?")]
    Version {
        /// The line.
        found: String,
    },
}

/// The programs found on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// `qemu-system-x86_64`.
    pub system: PathBuf,
    /// `qemu-img`.
    pub img: PathBuf,
    /// Version of the emulator.
    pub version: QemuVersion,
}

impl Qemu {
    /// Finds both programs in `PATH` and asks for the version. Blocks for some 50 ms.
    ///
    /// # Errors
    /// If one is missing or does not answer.
    pub fn find() -> Result<Self, BinaryError> {
        let system = find_in_path(SYSTEM)?;
        let img = find_in_path(IMG)?;
        let version = version_of(&system)?;
        Ok(Self {
            system,
            img,
            version,
        })
    }

    /// The machine types that this QEMU offers. Blocks.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn machine_types(&self) -> Result<Vec<String>, BinaryError> {
        let text = output(&self.system, &["-machine", "help"])?;
        Ok(first_words(&text))
    }

    /// Whether `-object` knows this type, such as `memory-backend-memfd`. Blocks.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn has_object(&self, name: &str) -> Result<bool, BinaryError> {
        let text = output(&self.system, &["-object", "help"])?;
        Ok(first_words(&text).iter().any(|word| word == name))
    }
}

/// The version of a QEMU program. Blocks.
///
/// # Errors
/// If it does not answer.
pub fn version_of(program: &Path) -> Result<QemuVersion, BinaryError> {
    let text = output(program, &["--version"])?;
    text.lines().next().unwrap_or_default().parse()
}

/// Where a program is in `PATH`.
///
/// # Errors
/// If it is not.
pub fn find_in_path(program: &str) -> Result<PathBuf, BinaryError> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let executable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(executable)
        .ok_or_else(|| BinaryError::NotFound {
            program: program.to_owned(),
        })
}

fn output<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<String, BinaryError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|source| BinaryError::Start {
        path: program.to_owned(),
        source,
    })?;
    if !output.status.success() {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|a| a.as_ref().to_string_lossy())
            .collect();
        return Err(BinaryError::Failed {
            path: program.to_owned(),
            arguments: arguments.join(" "),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first word of each line: how QEMU's help lists are written.
fn first_words(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        let cases = [
            (
                "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)",
                Some((10, 0, 2)),
                Support::Full,
            ),
            (
                "QEMU emulator version 7.2.11 (Debian 1:7.2+dfsg)",
                Some((7, 2, 11)),
                Support::BestEffort,
            ),
            (
                "qemu-img version 8.2.0",
                Some((8, 2, 0)),
                Support::BestEffort,
            ),
            (
                "QEMU emulator version 6.2.0",
                Some((6, 2, 0)),
                Support::TooOld,
            ),
            ("bash: command not found", None, Support::TooOld),
        ];
        for (line, expected, support) in cases {
            let version = line.parse::<QemuVersion>().ok();
            assert_eq!(
                version.map(|v| (v.major, v.minor, v.micro)),
                expected,
                "{line}"
            );
            assert!(version.is_none_or(|v| v.support() == support), "{line}");
        }
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = find_in_path("no-such-program-anywhere").unwrap_err();
        assert!(error.to_string().contains("install"));
    }
}
