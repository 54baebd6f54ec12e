//! What an audit found.

use serde::{Deserialize, Serialize};

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// No difference of any kind.
    pub ok: bool,
    /// Whether an order log was compared; without one only the database's own consistency was checked.
    pub log_checked: bool,
    /// Whether the loaded rows were checked too, not only what came after.
    pub loaded_rows_checked: bool,
    /// Orders that the database has beyond the loaded ones.
    pub orders_in_database: u64,
    /// Orders that the log calls committed.
    pub orders_committed: u64,
    /// Of those, the ones that the database does not have.
    pub orders_lost: u64,
    /// Orders that the database has more than once.
    pub orders_doubled: u64,
    /// Orders that the database has but the driver never sent.
    pub orders_unsent: u64,
    /// Orders that the database has although the driver was told that they did not happen.
    pub orders_contradicted: u64,
    /// Orders whose outcome the driver never learned.
    pub orders_unknown: u64,
    /// Of those, found committed; the others did not happen. Either is right: both are resolved.
    pub orders_unknown_resolved: u64,
    /// Customers registered since the load.
    pub customers_new: u64,
    /// Restocks since the load.
    pub restocks: u64,
    /// What does not agree, in words; at most [`AuditReport::MOST_DIFFERENCES`], `differences_total` counts all.
    pub differences: Vec<String>,
    /// How many differences there are.
    pub differences_total: u64,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

impl AuditReport {
    /// So many differences are written out.
    pub const MOST_DIFFERENCES: usize = 100;

    pub(crate) fn differ(&mut self, difference: String) {
        self.differences_total += 1;
        if self.differences.len() < AuditReport::MOST_DIFFERENCES {
            self.differences.push(difference);
        }
    }
}
