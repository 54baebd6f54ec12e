//! How a blade's datastore behaves, as a word in a file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::folder::Folder;
use crate::plan::DATASTORES;

/// How often a call that hangs looks whether it may go on.
const LOOK: Duration = Duration::from_millis(10);
/// The words are padded to this length, so that one write replaces one word.
const WIDTH: usize = 8;

/// How a datastore behaves for one blade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As it should.
    #[default]
    Ok,
    /// Every call fails at once (EIO), as with a cable pulled and a soft mount.
    Cut,
    /// Every call waits until the mode changes, as with a cable pulled and a hard mount. Who waits cannot be killed.
    Hang,
    /// There is no room (ENOSPC): nothing can be made and no file can grow; what exists can be overwritten.
    Full,
    /// Names and attributes that were seen before are answered from memory, as over NFS with caching. Opening a file
    /// asks afresh.
    Stale,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Cut, Self::Hang, Self::Full, Self::Stale];

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cut => "cut",
            Self::Hang => "hang",
            Self::Full => "full",
            Self::Stale => "stale",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|mode| mode.word() == text.trim());
        found.ok_or_else(|| {
            format!("`{text}` is no way to behave: choose ok, cut, hang, full or stale")
        })
    }
}

/// Makes a blade's datastore behave so, from its next call on.
///
/// # Errors
/// [`LabError::Choice`] when the lab has no such datastore or was not built with `--faulty-storage`.
pub fn set(dir: &Path, blade: &str, datastore: &str, mode: Mode) -> Result<(), LabError> {
    let path = file(dir, blade, datastore)?;
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(LabError::file("open", &path))?;
    file.write_all_at(padded(mode).as_bytes(), 0)
        .map_err(LabError::file("write", &path))
}

/// How a blade's datastore behaves.
///
/// # Errors
/// As [`set`].
pub fn mode(dir: &Path, blade: &str, datastore: &str) -> Result<Mode, LabError> {
    let path = file(dir, blade, datastore)?;
    let watch = Watch::open(&path).map_err(LabError::file("open", &path))?;
    Ok(watch.now())
}

fn file(dir: &Path, blade: &str, datastore: &str) -> Result<std::path::PathBuf, LabError> {
    let folder = Folder::new(dir);
    let description = folder
        .description()?
        .ok_or_else(|| LabError::NotUp { dir: dir.into() })?;
    if !description.spec.faulty_storage {
        let text = "this lab's storage cannot be made to fail: build it with `godwit lab up --faulty-storage`";
        return Err(LabError::Choice(text.into()));
    }
    if description.plan.blade(blade).is_none() {
        return Err(LabError::no_blade(blade, &description.plan));
    }
    if !DATASTORES.contains(&datastore) {
        return Err(LabError::Choice(format!(
            "there is no datastore {datastore}: choose {}",
            DATASTORES.join(" or ")
        )));
    }
    Ok(folder.mode(blade, datastore))
}

/// Makes the file for a datastore that behaves as it should.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    fs::write(path, padded(Mode::Ok))
}

fn padded(mode: Mode) -> String {
    format!("{:WIDTH$}", mode.word())
}

/// The file, kept open: the blade cannot see its path.
pub(crate) struct Watch {
    file: File,
}

impl Watch {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
        })
    }

    /// The mode now. A file that cannot be read says that all is well.
    pub(super) fn now(&self) -> Mode {
        let mut word = [0; WIDTH];
        let length = self.file.read_at(&mut word, 0).unwrap_or(0);
        str::from_utf8(&word[..length])
            .ok()
            .and_then(|word| word.parse().ok())
            .unwrap_or_default()
    }

    /// The mode once it is not [`Mode::Hang`].
    pub(super) fn wait(&self) -> Mode {
        loop {
            match self.now() {
                Mode::Hang => thread::sleep(LOOK),
                other => return other,
            }
        }
    }
}
