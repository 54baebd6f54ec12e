//! The lab's folder: what lies where, `lab.json`, and the lock that keeps two commands apart.
//!
//! ```text
//! lab.json                 what this lab is; written before anything is made, so that `down` always knows
//! manager/  manager.toml   the manager's state and configuration
//! boxes/blade1/etc         the blade's /etc/godwit
//! boxes/blade1/lib         its /var/lib/godwit
//! boxes/blade1/run         its /run/godwit
//! boxes/blade1/ready       exists once the box may start its program
//! boxes/blade1/state.json  what its first process says of that program
//! log/blade1.log …         output of each box's processes
//! san1/ san2/              the datastores
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::plan::Plan;
use crate::spec::Spec;

/// In a box's folder: lets it start its program.
pub(crate) const READY: &str = "ready";
/// In a box's folder: what its first process says.
pub(crate) const STATE: &str = "state.json";

/// What `lab.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What was asked for.
    pub spec: Spec,
    /// The names and addresses that follow.
    pub plan: Plan,
    /// Switches of the kernel's that were changed, with their old values, to be put back.
    pub switches: Vec<(PathBuf, String)>,
}

/// The lab's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The folder at a path, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A box's part of it.
    #[must_use]
    pub fn of_box(&self, name: &str) -> PathBuf {
        self.dir.join("boxes").join(name)
    }

    /// The file that lets a box start its program.
    #[must_use]
    pub fn ready(&self, name: &str) -> PathBuf {
        self.of_box(name).join(READY)
    }

    /// What a box's first process says of its program.
    #[must_use]
    pub fn state(&self, name: &str) -> PathBuf {
        self.of_box(name).join(STATE)
    }

    /// The file that says how a blade's datastore behaves.
    pub(crate) fn mode(&self, blade: &str, datastore: &str) -> PathBuf {
        self.of_box(blade).join(format!("{datastore}.mode"))
    }

    /// A box's log.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// The manager's state.
    #[must_use]
    pub fn manager(&self) -> PathBuf {
        self.dir.join("manager")
    }

    /// Where a datastore's files are.
    #[must_use]
    pub fn datastore(&self, spec: &Spec, name: &str) -> PathBuf {
        spec.datastores
            .as_ref()
            .unwrap_or(&self.dir)
            .join(name.to_lowercase())
    }

    /// What the lab is; nothing when none was made here.
    ///
    /// # Errors
    /// [`LabError::Description`] when the file is damaged.
    pub fn description(&self) -> Result<Option<Description>, LabError> {
        let path = self.dir.join("lab.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(LabError::file("read", &path))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| LabError::Description { path, source })
    }

    /// Writes down what the lab is.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn describe(&self, description: &Description) -> Result<(), LabError> {
        let path = self.dir.join("lab.json");
        let text =
            serde_json::to_vec_pretty(description).map_err(|source| LabError::Description {
                path: path.clone(),
                source,
            })?;
        write_whole(&path, &text)
    }

    /// Makes a folder inside.
    pub(crate) fn make(&self, path: &Path) -> Result<(), LabError> {
        fs::create_dir_all(path).map_err(LabError::file("make the folder", path))
    }

    /// Keeps other `up` and `down` commands off until it is dropped.
    ///
    /// # Errors
    /// [`LabError::Busy`] when one is at work.
    pub fn lock(&self) -> Result<Flock<File>, LabError> {
        self.make(&self.dir)?;
        let path = self.dir.join("lab.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.map_err(LabError::file("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| LabError::Busy {
            dir: self.dir.clone(),
        })
    }
}

/// Writes a file so that a reader, or the next start after a crash, finds the old or the new one, never a part.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let part = path.with_extension("part");
    fs::write(&part, bytes).map_err(LabError::file("write", &part))?;
    fs::rename(&part, path).map_err(LabError::file("replace", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_read_back() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        assert_eq!(folder.description().unwrap(), None);
        let spec = Spec::new(temporary.path(), Path::new("/godwit"));
        let plan = Plan::new(&spec, &[0, 1]);
        let description = Description {
            spec,
            plan,
            switches: Vec::new(),
        };
        folder.describe(&description).unwrap();
        assert_eq!(folder.description().unwrap(), Some(description));
    }

    #[test]
    fn a_damaged_description_says_how_to_go_on() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("lab.json"), "{").unwrap();
        let error = Folder::new(temporary.path()).description().unwrap_err();
        assert!(
            error.to_string().contains("godwit lab down --dir"),
            "{error}"
        );
    }

    #[test]
    fn one_command_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let held = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(LabError::Busy { .. })));
        drop(held);
        folder.lock().unwrap();
    }
}
