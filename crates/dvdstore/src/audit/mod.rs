//! The proof from the database that orders, lines, stock, history and customers agree with what the driver was told.
//!
//! ```text
//! seed ──► Baseline ──┐
//! driver ──► log ─────┼──► reconcile (pure) ──► AuditReport
//! database ► Snapshot ┘
//! ```
//! The snapshot is one read-only transaction. What the store began with is not read but drawn again from the seed.

mod reconcile;
mod report;
mod snapshot;

pub use report::AuditReport;

use std::time::Duration;

use tokio_postgres::Config;

use crate::connect::Link;
use crate::generate::Baseline;
use crate::load::{LoadError, inspect, store_info};
use crate::random::Seed;
use crate::record::OrderRecord;
use crate::size::Size;
use snapshot::Snapshot;

/// How long to wait for purchases that a driver gave up on.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// The baseline is another store's.
    #[error(
        "the database holds the store of seed {seed} and size {size}, not the one to compare with"
    )]
    OtherStore {
        /// The database's.
        seed: Seed,
        /// The database's.
        size: Size,
    },
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
    let info = inspect(config).await?;
    let baseline =
        tokio::task::spawn_blocking(move || Baseline::compute(info.seed, info.size)).await;
    let baseline = baseline.map_err(|_| LoadError::Generator)?;
    audit_with(config, log, options, &baseline).await
}

/// As [`audit`], with a baseline that was computed before: for many databases of the same seed and size.
///
/// # Errors
/// If the database cannot be read, or holds another store than the baseline's.
pub async fn audit_with(
    config: &Config,
    log: Option<&[OrderRecord]>,
    options: AuditOptions,
    baseline: &Baseline,
) -> Result<AuditReport, AuditError> {
    let mut link = Link::for_tool(config).await.map_err(LoadError::from)?;
    let info = store_info(link.client()).await?;
    if (info.seed, info.size) != (baseline.seed, baseline.size) {
        return Err(AuditError::OtherStore {
            seed: info.seed,
            size: info.size,
        });
    }
    let quiet = snapshot::wait_for_drivers(link.client(), PATIENCE).await?;
    let snapshot = Snapshot::read(link.client_mut(), info.size, options.loaded_rows).await?;
    link.close().await;
    let mut report = reconcile::reconcile(baseline, log, &snapshot);
    if !quiet {
        report
            .notes
            .push("a driver was still in a transaction: audit again when it has ended".to_owned());
    }
    if log.is_none() {
        report.notes.push(
            "no order log was given: only the database's own consistency was checked".to_owned(),
        );
    }
    if !options.loaded_rows {
        report
            .notes
            .push("loaded rows were not read, only what came after them".to_owned());
    }
    Ok(report)
}
