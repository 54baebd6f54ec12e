//! Making a store: tables, data by COPY, indexes, keys, sequences, statistics.
//!
//! All but the last happens in one transaction, so a load that fails leaves nothing behind, and rows of tables made in
//! the same transaction can be written frozen: no later vacuum touches them again, which in a VM means fewer changed
//! pages. The server is the slower side of COPY and generating runs beside it, so more connections would not help.

use tokio_postgres::Config;

use crate::connect::ConnectError;
use crate::random::Seed;
use crate::size::Size;

/// What to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// How much.
    pub size: Size,
    /// Decides the data.
    pub seed: Seed,
    /// Drop a store that is there already; otherwise it is an error.
    pub replace: bool,
}

/// What the load is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Copying rows; the bulk of the work.
    Rows,
    /// Building indexes.
    Indexes,
    /// Checking and adding foreign keys.
    ForeignKeys,
    /// Gathering statistics.
    Statistics,
    /// Done.
    Done,
}

/// How far the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// The phase.
    pub phase: Phase,
    /// The table being copied, or what is being built.
    pub what: &'static str,
    /// Rows written.
    pub rows_done: u64,
    /// Rows to write in all.
    pub rows_total: u64,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreInfo {
    /// Its seed.
    pub seed: Seed,
    /// Its size.
    pub size: Size,
    /// Version of the data, [`crate::generate::FORMAT`] of the program that loaded it.
    pub format: i32,
}

/// Why a store could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something is there already.
    #[error("the database already has the tables {0}: pass --replace to drop them and load afresh")]
    Occupied(String),
    /// No store of ours.
    #[error("the database holds no DVD Store of ours: load one with `godwit dvdstore load`")]
    NoStore,
    /// A store of another version of the data.
    #[error("the store was loaded as data format {found}, this program knows format {known}: load it afresh with --replace")]
    Format {
        /// The store's.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// The database refused a statement.
    #[error("the database refused {what}: its message says what to mend")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The generator ended early: a bug of ours.
    #[error("the generator stopped before its last row: this is a bug, please report it")]
    Generator,
}

/// Makes a store in an empty database (or instead of the one that is there).
///
/// # Errors
/// If there is a store already and `replace` is not set, or the database refuses; then nothing has changed.
pub async fn load(
    config: &Config,
    options: LoadOptions,
    progress: impl FnMut(LoadProgress) + Send,
) -> Result<StoreInfo, LoadError> {
    let _ = (config, options, progress);
    Err(LoadError::Generator)
}

/// Reads which store a database holds.
///
/// # Errors
/// If it cannot be reached, or holds none of ours.
pub async fn inspect(config: &Config) -> Result<StoreInfo, LoadError> {
    let _ = config;
    Err(LoadError::Generator)
}
