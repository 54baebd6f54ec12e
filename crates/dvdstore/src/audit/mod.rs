//! The proof from the database that orders, lines, stock, history and customers agree with what the driver was told.
//!
//! ```text
//! seed ──► Baseline ──┐
//! driver ──► log ─────┼──► reconcile (pure) ──► AuditReport
//! database ► Snapshot ┘
//! ```
//! The snapshot is one read-only transaction. What the store began with is not read but drawn again from the seed.

mod report;

pub use report::AuditReport;

use tokio_postgres::Config;

use crate::load::LoadError;
use crate::record::OrderRecord;

/// What to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    /// Check the loaded rows too (counts and sums): reads every table in full, which takes a slow guest a while.
    pub loaded_rows: bool,
}

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] LoadError),
    /// The database refused a query.
    #[error("the database refused to read {what}: its message says what to mend")]
    Sql {
        /// What was read.
        what: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// Audits a database. `log` holds every order that was sent to it since the load, warm-up included; `None` checks the
/// database's own consistency only.
///
/// # Errors
/// If the database cannot be read. Differences are no error: the report has them.
pub async fn audit(
    config: &Config,
    log: Option<&[OrderRecord]>,
    options: AuditOptions,
) -> Result<AuditReport, AuditError> {
    let _ = (config, log, options);
    Err(AuditError::Store(LoadError::NoStore))
}
