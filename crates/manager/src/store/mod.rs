//! What survives the manager: one SQLite file with the inventory, tasks, events, the audit
//! log and the farm's keys. Rows hold the API's types as JSON beside the columns that are
//! searched by, so that a new optional field needs no migration.
//!
//! Every write is durable when its call returns (`synchronous = FULL`).

mod backup;
mod inventory;
mod log;
mod secrets;
mod work;

pub use backup::{backup, restore};
pub use inventory::{HostRow, TemplateRow, VmRow};
pub use secrets::JoinRefusal;
pub use work::{MigrationRow, TaskRow};

use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the file in the manager's state folder.
pub const FILE: &str = "godwit.db";
/// Version of the tables; a newer file is refused.
const SCHEMA_VERSION: i64 = 1;

/// The manager's durable state. Cheap to clone; calls block for the length of a disk write.
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

/// A read or write that did not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("the manager's database failed: check the disk that holds it")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this version cannot read.
    #[error("a row of the manager's database cannot be read: restore a backup")]
    Row(#[from] serde_json::Error),
    /// Written by a newer Godwit.
    #[error(
        "the database has version {found}, this Godwit knows {SCHEMA_VERSION}: use the newer Godwit"
    )]
    Newer {
        /// Version found.
        found: i64,
    },
    /// The name is taken.
    #[error("the name `{0}` is taken: choose another")]
    NameTaken(String),
    /// The file cannot be reached.
    #[error("cannot use {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A backup that is none.
    #[error("{0} is not a backup of a Godwit manager")]
    NotABackup(String),
}

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens the file, making it (mode 0600) if there is none.
    ///
    /// # Errors
    /// The folder cannot be written, the file is not a database or of a newer Godwit.
    pub fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::File {
                path: path.to_owned(),
                source,
            })?;
        Self::with(Connection::open(path)?)
    }

    /// An empty store that forgets everything, for tests.
    ///
    /// # Errors
    /// SQLite cannot start.
    pub fn in_memory() -> Result<Self> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(connection: Connection) -> Result<Self> {
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000;",
        )?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::Newer { found });
        }
        connection.execute_batch(include_str!("schema.sql"))?;
        connection.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}"))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs `work` with the connection. A panic of an earlier user cannot have left a
    /// transaction open (they roll back when dropped), so the lock's poison is ignored.
    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut connection)
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_json::from_str(text)?)
}

/// Tells a taken name from other errors of an insert.
fn taken(error: rusqlite::Error, name: &str) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::NameTaken(name.to_owned()),
        _ => StoreError::Sqlite(error),
    }
}
