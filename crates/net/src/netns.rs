//! Network namespaces: made, named, entered, removed.
//!
//! Everything else here takes a [`Netns`] and acts inside it. [`Netns::Here`] is the caller's own: the agent uses
//! nothing else. [`Netns::Named`] is one that `ip netns` knows (a file in /run/netns): the lab prepares its blades so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};

use crate::command::{self, NetError};

const DIRECTORY: &str = "/run/netns";

/// The network namespace in which something happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Netns {
    /// The caller's own.
    #[default]
    Here,
    /// One that has a name in /run/netns.
    Named(String),
}

impl Netns {
    /// The named namespace.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Here => PathBuf::from("/proc/thread-self/ns/net"),
            Self::Named(name) => Path::new(DIRECTORY).join(name),
        }
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn ip(&self, arguments: &[&str]) -> Result<String, NetError> {
        command::run("ip", &self.with_name(arguments))
    }

    /// Runs `ip -json` inside and reads what it prints.
    ///
    /// # Errors
    /// As [`command::run_json`].
    pub fn ip_json<T: serde::de::DeserializeOwned>(
        &self,
        arguments: &[&str],
    ) -> Result<T, NetError> {
        let mut all = vec!["-json"];
        all.extend(self.with_name(arguments));
        command::run_json("ip", &all)
    }

    /// Runs `tc` inside.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn tc(&self, arguments: &[&str]) -> Result<String, NetError> {
        command::run("tc", &self.with_name(arguments))
    }

    /// Runs `work` on a thread of its own that has entered the namespace. Files that `work` opens under /proc/self
    /// would be the caller's: it must use /proc/thread-self. Sockets belong to the namespace they are made in for good.
    ///
    /// # Errors
    /// [`NetError::File`] when there is no such namespace, [`NetError::System`] when it cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let file = match self {
            Self::Here => return Ok(work()),
            Self::Named(_) => File::open(self.path()).map_err(|source| self.unreadable(source))?,
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).map_err(|error| NetError::System {
                    action: "entering a network namespace",
                    remedy: "run as root",
                    source: error.into(),
                })?;
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn unreadable(&self, source: io::Error) -> NetError {
        NetError::File {
            path: self.path().display().to_string(),
            source,
        }
    }

    fn with_name<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = match self {
            Self::Here => Vec::new(),
            Self::Named(name) => vec!["-n", name.as_str()],
        };
        all.extend_from_slice(arguments);
        all
    }
}

/// Makes an empty namespace with a name; one that exists is left as it is.
///
/// # Errors
/// As [`command::run`].
pub fn ensure(name: &str) -> Result<Netns, NetError> {
    if !exists(name) {
        command::run("ip", &["netns", "add", name])?;
    }
    Ok(Netns::named(name))
}

/// Whether `ip netns` knows the name.
#[must_use]
pub fn exists(name: &str) -> bool {
    Path::new(DIRECTORY).join(name).exists()
}

/// The names `ip netns` knows, sorted.
#[must_use]
pub fn list() -> Vec<String> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Takes the name away, also a half-made one; the namespace itself ends with its last process. No name is no error.
///
/// # Errors
/// [`NetError::File`] when the file cannot be removed.
pub fn remove(name: &str) -> Result<(), NetError> {
    let path = Path::new(DIRECTORY).join(name);
    // Twice named leaves two mounts on one file. A half-made name has none: then EINVAL ends the loop at once.
    while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NetError::File {
            path: path.display().to_string(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ScratchNetns, unique};

    #[test]
    fn made_twice_entered_and_removed() {
        let scratch = ScratchNetns::new();
        ensure(scratch.name()).unwrap();
        assert!(list().contains(&scratch.name().to_owned()));
        let links = scratch
            .run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap())
            .unwrap();
        assert!(links.contains("lo:"), "{links}");
        assert!(
            !links.contains("eth0:"),
            "a new namespace has no card: {links}"
        );
        remove(scratch.name()).unwrap();
        assert!(!exists(scratch.name()));
        remove(scratch.name()).unwrap();
    }

    #[test]
    fn entering_a_namespace_that_does_not_exist_names_the_file() {
        let name = unique("no");
        let error = Netns::named(&name).run(|| ()).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    }
}
