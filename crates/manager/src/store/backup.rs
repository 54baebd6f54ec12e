//! `godwit manager backup|restore`: the farm's whole state is one SQLite file, copied
//! consistently while the manager runs.

use super::{FILE, Result, Store, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Copies the state in `state_dir` into the new file `to` (mode 0600: it holds the farm's
/// keys). The manager may run.
///
/// # Errors
/// There is no database, `to` exists, or the disk is full.
pub fn backup(state_dir: &Path, to: &Path) -> Result<()> {
    let file = state_dir.join(FILE);
    let source = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    private_file(to)?;
    let copied = copy(&source, to);
    if copied.is_err() {
        let _ = std::fs::remove_file(to); // half a backup is none
    }
    copied
}

/// A new file that only root reads.
fn private_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
    Ok(())
}

fn copy(source: &Connection, to: &Path) -> Result<()> {
    let mut target = Connection::open(to)?;
    rusqlite::backup::Backup::new(source, &mut target)?.run_to_completion(
        1024,
        std::time::Duration::ZERO,
        None,
    )?;
    Ok(())
}

/// Puts a backup in place as the state in `state_dir`. What is there is kept beside it.
/// The manager must not run.
///
/// # Errors
/// `from` is no backup, or the folder cannot be written.
pub fn restore(from: &Path, state_dir: &Path) -> Result<()> {
    let name = from.display().to_string();
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source
        .query_row(
            "SELECT count(*) FROM meta WHERE key = 'ca_key'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .ok()
        .filter(|count| *count == 1)
        .ok_or(StoreError::NotABackup(name))?;
    let file = state_dir.join(FILE);
    let at = |source| StoreError::File {
        path: state_dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(state_dir).map_err(at)?;
    let fresh = state_dir.join("godwit.db.restoring");
    let _ = std::fs::remove_file(&fresh); // of a restore that was interrupted
    private_file(&fresh)?;
    copy(&source, &fresh)?;
    for tail in ["", "-wal", "-shm"] {
        let old = state_dir.join(format!("{FILE}{tail}"));
        if old.exists() {
            std::fs::rename(&old, state_dir.join(format!("{FILE}.before-restore{tail}")))
                .map_err(at)?;
        }
    }
    std::fs::rename(&fresh, &file).map_err(at)?;
    Store::open(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_a_running_store_restores_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join(FILE)).expect("opens");
        let key = || Ok::<_, ()>("secret".to_owned());
        let _ = store.once("ca_key", key).expect("writes");
        let saved = dir.path().join("saved.db");
        backup(dir.path(), &saved).expect("backs up beside an open store");
        assert!(backup(dir.path(), &saved).is_err(), "overwrites nothing");

        let other = tempfile::tempdir().expect("a folder");
        restore(&saved, other.path()).expect("restores");
        let back = Store::open(&other.path().join(FILE)).expect("opens");
        let found = back
            .once("ca_key", || Err::<String, _>("asked again"))
            .expect("reads");
        assert_eq!(found, Ok("secret".to_owned()));
    }

    #[test]
    fn another_file_is_not_a_backup() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("x.db");
        std::fs::write(&file, b"no database at all, but some text").expect("writes");
        assert!(restore(&file, dir.path()).is_err());
    }
}
