//! The order log: every [`OrderRecord`] as a row of CSV.
//!
//! One flat row for each order, so that any tool reads it; nothing is lost, so that an audit from the file is the audit
//! from memory. Times are nanoseconds: readings of CLOCK_MONOTONIC, or durations.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::MonotonicNs;
use crate::record::{
    Cents, CustomerId, Failure, OrderId, OrderRecord, Outcome, Registration, Sequence, StepTimes,
    Token,
};
use crate::script::CartLine;

/// A log that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("cannot open the order log {0}")]
    File(PathBuf, #[source] std::io::Error),
    /// Writing.
    #[error("cannot write the order log: is the disk full?")]
    Write(#[source] csv::Error),
    /// A row that the CSV reader refuses.
    #[error("the order log {0} is not one, or was written by another version")]
    Read(PathBuf, #[source] csv::Error),
    /// A row whose fields contradict each other.
    #[error("line {line} of the order log {path} makes no sense: {what}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

/// Writes a log.
pub struct LogWriter(csv::Writer<BufWriter<File>>);

impl LogWriter {
    /// Makes the file; one that is there is overwritten.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path) -> Result<LogWriter, LogError> {
        let file = File::create(path).map_err(|e| LogError::File(path.to_owned(), e))?;
        Ok(LogWriter(csv::Writer::from_writer(BufWriter::new(file))))
    }

    /// Adds an order.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, order: &OrderRecord) -> Result<(), LogError> {
        self.0
            .serialize(LogRow::from(order))
            .map_err(LogError::Write)
    }

    /// Brings all orders into the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.0.flush().map_err(|e| LogError::Write(e.into()))
    }
}

/// Reads a log.
///
/// # Errors
/// If the file is not a whole order log.
pub fn read_log(path: &Path) -> Result<Vec<OrderRecord>, LogError> {
    let file = File::open(path).map_err(|e| LogError::File(path.to_owned(), e))?;
    let mut reader = csv::Reader::from_reader(file);
    let mut orders = Vec::new();
    for (line, row) in (2..).zip(reader.deserialize::<LogRow>()) {
        let row = row.map_err(|e| LogError::Read(path.to_owned(), e))?;
        let order = OrderRecord::try_from(row);
        orders.push(order.map_err(|what| LogError::Row {
            path: path.to_owned(),
            line,
            what,
        })?);
    }
    Ok(orders)
}

/// The columns.
#[derive(Debug, Serialize, Deserialize)]
struct LogRow {
    target: String,
    sequence: u64,
    token: String,
    user: u32,
    script: u64,
    warm_up: bool,
    outcome: String,
    reason: Option<String>,
    order_id: Option<i32>,
    net_cents: Option<i64>,
    customer_id: Option<i32>,
    registered_name: Option<String>,
    registered_id: Option<i32>,
    intended_ns: u64,
    started_ns: u64,
    ended_ns: u64,
    generator_lag_ns: u64,
    connect_ns: u64,
    login_ns: u64,
    register_ns: u64,
    browse_ns: u64,
    browses: u32,
    purchase_ns: u64,
    /// `product x quantity`, separated by spaces: `17x2 404x1`.
    cart: String,
    detail: Option<String>,
}

impl From<&OrderRecord> for LogRow {
    fn from(o: &OrderRecord) -> LogRow {
        let (mut order_id, mut net_cents, mut why) = (None, None, None);
        let outcome = match &o.outcome {
            Outcome::Committed { order_id: id, net } => {
                (order_id, net_cents) = (Some(id.0), Some(net.0));
                "committed"
            }
            Outcome::RolledBack => "rolled_back",
            Outcome::Failed { reason, detail } => {
                why = Some((reason, detail));
                "failed"
            }
            Outcome::Unknown { reason, detail } => {
                why = Some((reason, detail));
                "unknown"
            }
        };
        let cart: Vec<String> = o
            .cart
            .iter()
            .map(|l| format!("{}x{}", l.product, l.quantity))
            .collect();
        LogRow {
            target: o.target.clone(),
            sequence: o.sequence.0,
            token: o.token.to_string(),
            user: o.user,
            script: o.script,
            warm_up: o.warm_up,
            outcome: outcome.to_owned(),
            reason: why.map(|(reason, _)| reason.name().to_owned()),
            order_id,
            net_cents,
            customer_id: o.customer_id.map(|id| id.0),
            registered_name: o.registration.as_ref().map(|r| r.username.clone()),
            registered_id: o
                .registration
                .as_ref()
                .and_then(|r| r.customer_id)
                .map(|id| id.0),
            intended_ns: o.intended.0,
            started_ns: o.started.0,
            ended_ns: o.ended.0,
            generator_lag_ns: ns(o.generator_lag),
            connect_ns: ns(o.steps.connect),
            login_ns: ns(o.steps.login),
            register_ns: ns(o.steps.register),
            browse_ns: ns(o.steps.browse),
            browses: o.steps.browses,
            purchase_ns: ns(o.steps.purchase),
            cart: cart.join(" "),
            detail: why.map(|(_, detail)| detail.clone()),
        }
    }
}

impl TryFrom<LogRow> for OrderRecord {
    type Error = String;

    fn try_from(row: LogRow) -> Result<OrderRecord, String> {
        let outcome = outcome(&row)?;
        let cart = row
            .cart
            .split_whitespace()
            .map(cart_line)
            .collect::<Result<_, _>>()?;
        let registration = row.registered_name.map(|username| Registration {
            username,
            customer_id: row.registered_id.map(CustomerId),
        });
        Ok(OrderRecord {
            target: row.target,
            sequence: Sequence(row.sequence),
            user: row.user,
            script: row.script,
            warm_up: row.warm_up,
            intended: MonotonicNs(row.intended_ns),
            started: MonotonicNs(row.started_ns),
            ended: MonotonicNs(row.ended_ns),
            generator_lag: Duration::from_nanos(row.generator_lag_ns),
            steps: StepTimes {
                connect: Duration::from_nanos(row.connect_ns),
                login: Duration::from_nanos(row.login_ns),
                register: Duration::from_nanos(row.register_ns),
                browse: Duration::from_nanos(row.browse_ns),
                browses: row.browses,
                purchase: Duration::from_nanos(row.purchase_ns),
            },
            token: row
                .token
                .parse::<Token>()
                .map_err(|e| format!("token {}: {e}", row.token))?,
            outcome,
            customer_id: row.customer_id.map(CustomerId),
            registration,
            cart,
        })
    }
}

fn outcome(row: &LogRow) -> Result<Outcome, String> {
    let detail = || row.detail.clone().unwrap_or_default();
    let reason = || {
        let name = row.reason.as_deref().unwrap_or_default();
        let found = Failure::NAMES.iter().find(|(_, known)| *known == name);
        found
            .map(|(failure, _)| *failure)
            .ok_or_else(|| format!("reason `{name}`"))
    };
    match (row.outcome.as_str(), row.order_id, row.net_cents) {
        ("committed", Some(id), Some(net)) => Ok(Outcome::Committed {
            order_id: OrderId(id),
            net: Cents(net),
        }),
        ("committed", ..) => Err("committed without order number or amount".to_owned()),
        ("rolled_back", ..) => Ok(Outcome::RolledBack),
        ("failed", ..) => Ok(Outcome::Failed {
            reason: reason()?,
            detail: detail(),
        }),
        ("unknown", ..) => Ok(Outcome::Unknown {
            reason: reason()?,
            detail: detail(),
        }),
        (other, ..) => Err(format!("outcome `{other}`")),
    }
}

fn cart_line(text: &str) -> Result<CartLine, String> {
    let parsed = text.split_once('x').and_then(|(product, quantity)| {
        Some(CartLine {
            product: product.parse().ok()?,
            quantity: quantity.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| format!("cart line `{text}`"))
}

fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::RunId;

    pub(crate) fn record(sequence: u64, outcome: Outcome) -> OrderRecord {
        OrderRecord {
            target: "vm, \"one\"".to_owned(),
            sequence: Sequence(sequence),
            user: 3,
            script: 9,
            warm_up: sequence.is_multiple_of(2),
            intended: MonotonicNs(1_000),
            started: MonotonicNs(1_500),
            ended: MonotonicNs(9_000),
            generator_lag: Duration::from_nanos(499),
            steps: StepTimes {
                login: Duration::from_nanos(7),
                browses: 2,
                ..StepTimes::default()
            },
            token: Token::new(RunId(77), 5, Sequence(sequence)),
            outcome,
            customer_id: Some(CustomerId(4)),
            registration: None,
            cart: vec![
                CartLine {
                    product: 17,
                    quantity: 2,
                },
                CartLine {
                    product: 404,
                    quantity: 1,
                },
            ],
        }
    }

    #[test]
    fn a_log_gives_back_what_was_written() {
        let lost = |detail: &str| (Failure::ConnectionLost, detail.to_owned());
        let (reason, detail) = lost("a line\nbreak, and \"quotes\"");
        let mut orders = vec![
            record(
                0,
                Outcome::Committed {
                    order_id: OrderId(12_001),
                    net: Cents(4_242),
                },
            ),
            record(1, Outcome::RolledBack),
            record(
                2,
                Outcome::Failed {
                    reason,
                    detail: detail.clone(),
                },
            ),
            record(
                3,
                Outcome::Unknown {
                    reason: Failure::Timeout,
                    detail,
                },
            ),
        ];
        orders[1].registration = Some(Registration {
            username: "new1".to_owned(),
            customer_id: Some(CustomerId(8)),
        });
        orders[2].registration = Some(Registration {
            username: "new2".to_owned(),
            customer_id: None,
        });
        orders[2].customer_id = None;
        orders[2].cart.clear();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = LogWriter::create(file.path()).unwrap();
        for order in &orders {
            writer.write(order).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(read_log(file.path()).unwrap(), orders);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a,b\n1,2\n").unwrap();
        assert!(matches!(read_log(file.path()), Err(LogError::Read(..))));
        assert!(matches!(
            read_log(Path::new("/nonexistent/log")),
            Err(LogError::File(..))
        ));
    }
}
