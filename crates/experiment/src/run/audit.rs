//! After a part: does every database hold what its clients were told, once?

use std::time::Duration;

use futures::StreamExt;
use godwit_dvdstore::audit::{AuditOptions, AuditReport, audit};

use crate::raw::AuditInfo;
use crate::run::collect::OrderLog;
use crate::run::error::RunError;
use crate::run::farm::Guest;
use crate::run::status::Status;

/// Databases audited at a time.
const AT_ONCE: usize = 2;
/// One audit may take this long.
const LONGEST: Duration = Duration::from_secs(600);

/// Audits all databases of a part.
///
/// # Errors
/// A database cannot be read.
pub async fn all(guests: &[Guest], log: &OrderLog, status: &Status) -> Result<AuditInfo, RunError> {
    let audits = guests.iter().map(|guest| one(guest, log));
    let mut audits = futures::stream::iter(audits).buffer_unordered(AT_ONCE);
    let mut sum = AuditInfo {
        ok: true,
        ..AuditInfo::default()
    };
    let mut done = 0;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => status.live(&format!("audit: {done} of {} databases", guests.len())),
            next = audits.next() => match next {
                None => return Ok(sum),
                Some(next) => {
                    let (guest, report) = next?;
                    add(&mut sum, &guest.name, &report);
                    done += 1;
                }
            },
        }
    }
}

async fn one<'a>(guest: &'a Guest, log: &OrderLog) -> Result<(&'a Guest, AuditReport), RunError> {
    let orders = log.get(&guest.name).map_or(&[][..], Vec::as_slice);
    let auditing = audit(&guest.database, Some(orders), AuditOptions::default());
    match tokio::time::timeout(LONGEST, auditing).await {
        Ok(report) => Ok((guest, report?)),
        Err(_) => Err(RunError::Farm(format!(
            "the audit of {} took more than {} s; is its host overloaded?",
            guest.name,
            LONGEST.as_secs()
        ))),
    }
}

/// Adds one database's audit. Orders that nobody sent, or that the clients were told had not
/// happened, count as doubled: they are in the database once too often.
fn add(sum: &mut AuditInfo, vm: &str, report: &AuditReport) {
    sum.ok &= report.ok;
    sum.orders_confirmed += report.orders_committed;
    sum.orders_lost += report.orders_lost;
    sum.orders_doubled += report.orders_doubled + report.orders_unsent + report.orders_contradicted;
    sum.differences
        .extend(report.differences.iter().map(|d| format!("{vm}: {d}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_database_spoils_the_sum() {
        let mut sum = AuditInfo {
            ok: true,
            ..AuditInfo::default()
        };
        let clean = AuditReport {
            ok: true,
            orders_committed: 5,
            ..AuditReport::default()
        };
        let wrong = AuditReport {
            orders_committed: 7,
            orders_lost: 1,
            orders_unsent: 2,
            differences: vec!["order 9 is gone".to_owned()],
            ..AuditReport::default()
        };
        add(&mut sum, "a", &clean);
        assert!(sum.ok);
        add(&mut sum, "b", &wrong);
        assert!(!sum.ok);
        assert_eq!(
            (sum.orders_confirmed, sum.orders_lost, sum.orders_doubled),
            (12, 1, 2)
        );
        assert_eq!(sum.differences, ["b: order 9 is gone"]);
    }
}
