//! What the database holds, read in one read-only transaction: everything that came after the load.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::AuditError;
use crate::connect::APPLICATION;
use crate::size::Size;

/// An order row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DbOrder {
    pub(super) id: i32,
    pub(super) token: Option<Uuid>,
    pub(super) customer: Option<i32>,
    pub(super) net: i64,
    pub(super) tax: i64,
    pub(super) total: i64,
}

/// An order line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DbLine {
    pub(super) order: i32,
    pub(super) number: i16,
    pub(super) product: i32,
    pub(super) quantity: i16,
}

/// A history row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DbHistory {
    pub(super) order: i32,
    pub(super) customer: i32,
    pub(super) product: i32,
}

/// Stock of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DbStock {
    pub(super) product: i32,
    pub(super) in_stock: i32,
    pub(super) sold: i32,
}

/// A restock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DbRestock {
    pub(super) product: i32,
    pub(super) units: i32,
}

/// A customer that registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DbCustomer {
    pub(super) id: i32,
    pub(super) username: String,
}

/// Counts and sums over the loaded rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DbLoaded {
    pub(super) customers: i64,
    pub(super) orders: i64,
    pub(super) net: i64,
    pub(super) lines: i64,
    pub(super) units: i64,
    pub(super) history: i64,
    pub(super) products: i64,
}

/// All of it. Lines and history are sorted by order, then line or product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) orders: Vec<DbOrder>,
    pub(super) lines: Vec<DbLine>,
    pub(super) history: Vec<DbHistory>,
    pub(super) stock: Vec<DbStock>,
    pub(super) restocks: Vec<DbRestock>,
    pub(super) customers: Vec<DbCustomer>,
    pub(super) loaded: Option<DbLoaded>,
}

/// Waits until no driver is in a transaction, at most `patience`; false if one still is. A purchase that the driver
/// gave up may still be on its way to a commit.
pub(super) async fn wait_for_drivers(
    client: &Client,
    patience: Duration,
) -> Result<bool, AuditError> {
    let query = "SELECT count(*) FROM pg_stat_activity
                  WHERE application_name = $1 AND datname = current_database() AND xact_start IS NOT NULL
                    AND pid <> pg_backend_pid()";
    let until = tokio::time::Instant::now() + patience;
    loop {
        let row = client
            .query_one(query, &[&APPLICATION])
            .await
            .map_err(sql("its sessions"))?;
        if row.get::<_, i64>(0) == 0 {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Snapshot {
    /// Reads a store of `size`; the loaded rows too if `loaded_rows`.
    pub(super) async fn read(
        client: &mut Client,
        size: Size,
        loaded_rows: bool,
    ) -> Result<Snapshot, AuditError> {
        let builder = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true);
        let tx = builder.start().await.map_err(sql("a snapshot"))?;
        if loaded_rows {
            // An index that is itself wrong must not hide a row.
            let settings = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
                            SET LOCAL enable_bitmapscan = off";
            tx.batch_execute(settings)
                .await
                .map_err(sql("a snapshot"))?;
        }
        let (orders, customers) = (size.orders().cast_signed(), size.customers().cast_signed());
        let mut snapshot = Snapshot {
            orders: rows(&tx, "its orders", ORDERS, &[&orders], DbOrder::from_row).await?,
            lines: rows(&tx, "its order lines", LINES, &[&orders], DbLine::from_row).await?,
            history: rows(&tx, "its history", HISTORY, &[&orders], DbHistory::from_row).await?,
            stock: rows(&tx, "its inventory", STOCK, &[], DbStock::from_row).await?,
            restocks: rows(&tx, "its reorders", RESTOCKS, &[], DbRestock::from_row).await?,
            customers: rows(
                &tx,
                "its customers",
                CUSTOMERS,
                &[&customers],
                DbCustomer::from_row,
            )
            .await?,
            loaded: None,
        };
        if loaded_rows {
            let row = tx
                .query_one(LOADED, &[&customers, &orders])
                .await
                .map_err(sql("its loaded rows"))?;
            snapshot.loaded = Some(DbLoaded {
                customers: row.get(0),
                orders: row.get(1),
                net: row.get(2),
                lines: row.get(3),
                units: row.get(4),
                history: row.get(5),
                products: row.get(6),
            });
        }
        tx.commit().await.map_err(sql("a snapshot"))?;
        Ok(snapshot)
    }
}

const ORDERS: &str =
    "SELECT orderid, token, customerid, (netamount * 100)::bigint, (tax * 100)::bigint,
                             (totalamount * 100)::bigint
                        FROM orders WHERE orderid > $1 ORDER BY orderid";
const LINES: &str = "SELECT orderid, orderlineid, prod_id, quantity
                       FROM orderlines WHERE orderid > $1 ORDER BY orderid, orderlineid";
const HISTORY: &str = "SELECT orderid, customerid, prod_id
                         FROM cust_hist WHERE orderid > $1 ORDER BY orderid, prod_id";
const STOCK: &str = "SELECT prod_id, quan_in_stock, sales FROM inventory ORDER BY prod_id";
const RESTOCKS: &str = "SELECT prod_id, coalesce(quan_reordered, 0) FROM reorder";
const CUSTOMERS: &str =
    "SELECT customerid, username FROM customers WHERE customerid > $1 ORDER BY customerid";
const LOADED: &str = "
    SELECT (SELECT count(*) FROM customers WHERE customerid <= $1), o.n, o.net, l.n, l.units,
           (SELECT count(*) FROM cust_hist WHERE orderid <= $2), (SELECT count(*) FROM products)
      FROM (SELECT count(*) AS n, coalesce(sum(netamount) * 100, 0)::bigint AS net
              FROM orders WHERE orderid <= $2 AND token IS NULL) o,
           (SELECT count(*) AS n, coalesce(sum(quantity), 0)::bigint AS units
              FROM orderlines WHERE orderid <= $2) l";

impl DbOrder {
    fn from_row(row: &Row) -> DbOrder {
        DbOrder {
            id: row.get(0),
            token: row.get(1),
            customer: row.get(2),
            net: row.get(3),
            tax: row.get(4),
            total: row.get(5),
        }
    }
}

impl DbLine {
    fn from_row(row: &Row) -> DbLine {
        DbLine {
            order: row.get(0),
            number: row.get(1),
            product: row.get(2),
            quantity: row.get(3),
        }
    }
}

impl DbHistory {
    fn from_row(row: &Row) -> DbHistory {
        DbHistory {
            order: row.get(0),
            customer: row.get(1),
            product: row.get(2),
        }
    }
}

impl DbStock {
    fn from_row(row: &Row) -> DbStock {
        DbStock {
            product: row.get(0),
            in_stock: row.get(1),
            sold: row.get(2),
        }
    }
}

impl DbRestock {
    fn from_row(row: &Row) -> DbRestock {
        DbRestock {
            product: row.get(0),
            units: row.get(1),
        }
    }
}

impl DbCustomer {
    fn from_row(row: &Row) -> DbCustomer {
        DbCustomer {
            id: row.get(0),
            username: row.get(1),
        }
    }
}

fn sql(what: &'static str) -> impl Fn(tokio_postgres::Error) -> AuditError {
    move |source| AuditError::Sql { what, source }
}

async fn rows<T>(
    tx: &Transaction<'_>,
    what: &'static str,
    query: &str,
    parameters: &[&(dyn ToSql + Sync)],
    read: impl Fn(&Row) -> T,
) -> Result<Vec<T>, AuditError> {
    let rows = tx.query(query, parameters).await.map_err(sql(what))?;
    Ok(rows.iter().map(read).collect())
}
