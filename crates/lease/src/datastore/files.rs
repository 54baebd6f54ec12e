//! The few file operations that the lease is built of.
//!
//! They are a trait for one reason: tests fail each of them in turn, lose their replies, and
//! cut the power between them.

use crate::error::StorageError;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use uuid::Uuid;

/// No file that the lease reads is longer; whatever is, is not ours.
const LONGEST: u64 = 1 << 20;

/// What the lease needs of a file system. Every error leaves open whether the operation took
/// place: a server may have done it and its reply been lost.
pub(crate) trait Files: Send + Sync {
    /// Creates a new file with this content, and syncs it.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Gives a file a second name, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The content of a file, opened afresh.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        // The same descriptor that wrote: NFS and quota errors may come only now.
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(LONGEST).read_to_end(&mut content)?;
        Ok(content)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Puts `content` into `dir/name` durably and as a whole: a reader sees the old or the new.
pub(crate) fn replace(
    files: &dyn Files,
    dir: &Path,
    name: &str,
    content: &[u8],
) -> Result<(), StorageError> {
    let temp = dir.join(format!(".{name}-{}", Uuid::new_v4()));
    let path = dir.join(name);
    let written = files
        .create(&temp, content)
        .and_then(|()| files.rename(&temp, &path));
    if let Err(source) = written {
        // Best effort: a leftover is only litter, its name is never used again.
        let _ = files.remove(&temp);
        let doing = "write";
        return Err(StorageError {
            doing,
            path,
            source,
        });
    }
    files.sync_dir(dir).map_err(|source| StorageError {
        doing: "sync",
        path: dir.to_path_buf(),
        source,
    })
}
