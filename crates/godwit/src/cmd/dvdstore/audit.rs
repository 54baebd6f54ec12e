//! `godwit dvdstore audit`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use godwit_dvdstore::audit::{AuditOptions, AuditReport, audit};
use godwit_dvdstore::connect::parse_url;
use godwit_dvdstore::orderlog::read_log;
use godwit_dvdstore::record::OrderRecord;

use super::{Failure, print_json};

/// What to audit against what.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// The database
    url: String,
    /// Order log of a `drive`; give the logs of all that drove this database since it was loaded. Without any, only
    /// the database's own consistency is checked
    #[arg(long, value_name = "FILE")]
    orders: Vec<PathBuf>,
    /// Which target of the logs this database is, if they have several; again for each of its names
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Look only at what came after the load; a large store is otherwise read in full
    #[arg(long)]
    quick: bool,
}

/// Logs that do not say which orders went to this database.
#[derive(Debug, thiserror::Error)]
enum Ambiguous {
    #[error("the logs have orders to {0}: say with --target which of them this database is")]
    Several(String),
    #[error("the logs have no orders to {0}, only to {1}")]
    NoSuch(String, String),
}

impl AuditArgs {
    pub(super) async fn run(self, json: bool) -> Result<ExitCode, Failure> {
        let config = parse_url(&self.url)?;
        let log = self.log()?;
        let options = AuditOptions {
            loaded_rows: !self.quick,
        };
        let report = audit(&config, log.as_deref(), options).await?;
        if json {
            print_json(&report);
        } else {
            print(&report);
        }
        Ok(if report.ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The orders that went to this database, or nothing if there is no log.
    fn log(&self) -> Result<Option<Vec<OrderRecord>>, Failure> {
        if self.orders.is_empty() {
            return Ok(None);
        }
        let mut orders = Vec::new();
        for path in &self.orders {
            orders.extend(read_log(path)?);
        }
        let names: BTreeSet<&str> = orders.iter().map(|order| order.target.as_str()).collect();
        let list = || names.iter().copied().collect::<Vec<_>>().join(", ");
        let strange = self
            .target
            .iter()
            .find(|name| !names.contains(name.as_str()));
        match strange {
            Some(name) if !orders.is_empty() => {
                return Err(Ambiguous::NoSuch(name.clone(), list()).into());
            }
            None if self.target.is_empty() && names.len() > 1 => {
                return Err(Ambiguous::Several(list()).into());
            }
            _ => {}
        }
        if !self.target.is_empty() {
            orders.retain(|order| self.target.contains(&order.target));
        }
        Ok(Some(orders))
    }
}

fn print(report: &AuditReport) {
    println!(
        "orders in the database since the load  {:>8}",
        report.orders_in_database
    );
    println!(
        "customers registered since             {:>8}",
        report.customers_new
    );
    println!(
        "restocks since                         {:>8}",
        report.restocks
    );
    if report.log_checked {
        println!(
            "orders that the driver calls committed {:>8}",
            report.orders_committed
        );
        println!(
            "  lost                                 {:>8}",
            report.orders_lost
        );
        println!(
            "  there although they failed           {:>8}",
            report.orders_contradicted
        );
        println!(
            "orders of unknown outcome              {:>8}",
            report.orders_unknown
        );
        println!(
            "  of these found committed             {:>8}",
            report.orders_unknown_resolved
        );
    }
    println!(
        "doubled                                {:>8}",
        report.orders_doubled
    );
    println!(
        "never sent                             {:>8}",
        report.orders_unsent
    );
    for difference in &report.differences {
        println!("DIFFERENCE: {difference}");
    }
    let more = report.differences_total - report.differences.len() as u64;
    if more > 0 {
        println!("and {more} more differences");
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    println!(
        "{}",
        if report.ok {
            "everything agrees"
        } else {
            "THE AUDIT FAILED"
        }
    );
}
