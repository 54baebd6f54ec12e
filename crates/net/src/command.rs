//! Runs `ip`, `tc` and the like, and turns their complaints into errors that say what to do.
//!
//! The only module that starts processes. Output is asked for in the C locale, so that complaints can be recognized.

use std::process::Command;

use serde::de::DeserializeOwned;

/// What can go wrong below the network modules.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The tool is not installed.
    #[error("cannot start `{program}`: install the package iproute2")]
    NoTool {
        /// The program that could not be started.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The tool ran and refused.
    #[error("`{command}` said: {stderr}. {remedy}")]
    Refused {
        /// The whole command line, to be repeated by hand.
        command: String,
        /// What it complained of.
        stderr: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The tool's JSON was not what iproute2 is known to print.
    #[error(
        "`{command}` printed JSON of an unknown shape: update iproute2 (5.10 or newer is needed)"
    )]
    Output {
        /// The whole command line.
        command: String,
        /// What did not fit.
        source: serde_json::Error,
    },
    /// A file of the kernel's could not be read or written.
    #[error("cannot use {path}: check that this runs as root and that the kernel has the feature")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("{action} failed: {remedy}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What to do about it.
        remedy: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The interface exists and belongs to somebody else.
    #[error(
        "interface {name} belongs to {owner}: remove it with `ip link delete {name}` if that is a leftover"
    )]
    Taken {
        /// The interface.
        name: String,
        /// Whose it is, as far as it is known.
        owner: String,
    },
    /// A name the kernel would not take.
    #[error("{name:?} cannot name an interface: use 1 to 15 characters without spaces or slashes")]
    Name {
        /// The name.
        name: String,
    },
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// [`NetError::NoTool`] when it cannot be started, [`NetError::Refused`] when it does not exit with 0.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, NetError> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| NetError::NoTool {
            program: program.into(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', " / ");
    let remedy = remedy(&stderr);
    Err(NetError::Refused {
        command: line(program, arguments),
        stderr,
        remedy,
    })
}

/// Runs a program and reads its output as JSON. Nothing printed counts as an empty list.
///
/// # Errors
/// As [`run`], and [`NetError::Output`] when the JSON does not fit `T`.
pub fn run_json<T: DeserializeOwned>(program: &str, arguments: &[&str]) -> Result<T, NetError> {
    let text = run(program, arguments)?;
    let text = if text.trim().is_empty() {
        "[]"
    } else {
        text.as_str()
    };
    serde_json::from_str(text).map_err(|source| NetError::Output {
        command: line(program, arguments),
        source,
    })
}

impl NetError {
    /// Whether the error only says that the thing does not exist: `remove` calls this success.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = [
            "Cannot find device",
            "does not exist",
            "No such file or directory",
            "No such device",
        ];
        matches!(self, Self::Refused { stderr, .. } if missing.iter().any(|text| stderr.contains(text)))
    }

    /// Whether the error only says that the thing exists already: two that make the same thing at once see this.
    #[must_use]
    pub fn is_existing(&self) -> bool {
        matches!(self, Self::Refused { stderr, .. } if stderr.contains("File exists"))
    }
}

fn line(program: &str, arguments: &[&str]) -> String {
    let mut line = String::from(program);
    for argument in arguments {
        line.push(' ');
        line.push_str(argument);
    }
    line
}

fn remedy(stderr: &str) -> &'static str {
    let table = [
        (
            "Operation not permitted",
            "Run as root, or with CAP_NET_ADMIN",
        ),
        (
            "Permission denied",
            "Run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN",
        ),
        (
            "qdisc kind is unknown",
            "Load the kernel module sch_htb, or use a kernel that has it",
        ),
        (
            "Unknown device type",
            "Load the kernel module (bridge, veth, tun), or use a kernel that has it",
        ),
        (
            "not supported",
            "Load the kernel module (bridge, veth, tun), or use a kernel that has it",
        ),
        (
            "/dev/net/tun",
            "Load the kernel module tun, and make /dev/net/tun if it is missing",
        ),
        (
            "File exists",
            "Something of that name exists: remove it, or choose another name",
        ),
        (
            "Cannot find device",
            "Create the interface first, and check the spelling in the configuration",
        ),
        (
            "No such file or directory",
            "Create the namespace or class first",
        ),
        (
            "is not a bridge",
            "Name another interface, or remove this one",
        ),
    ];
    table.iter().find(|(sign, _)| stderr.contains(sign)).map_or(
        "Repeat the command by hand to find out more",
        |(_, remedy)| remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_package() {
        let error = run("godwit-no-such-program", &[]).unwrap_err();
        assert!(error.to_string().contains("iproute2"), "{error}");
    }

    #[test]
    fn a_refusal_carries_command_complaint_and_remedy() {
        let error = run("ip", &["link", "show", "dev", "gwnosuch0"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ip link show dev gwnosuch0"), "{text}");
        assert!(text.contains("does not exist"), "{text}");
        assert!(error.is_missing());
        assert!(!error.is_existing());
    }

    #[test]
    fn no_output_is_an_empty_list() {
        let list: Vec<String> = run_json("true", &[]).unwrap();
        assert!(list.is_empty());
    }
}
