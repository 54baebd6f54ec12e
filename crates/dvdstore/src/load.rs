//! Making a store: tables, data by COPY, indexes, keys, sequences, statistics.
//!
//! All but the last happens in one transaction, so a load that fails leaves nothing behind, and rows of tables made in
//! the same transaction can be written frozen: no later vacuum touches them again, which in a VM means fewer changed
//! pages. The server is the slower side of COPY and generating runs beside it, so more connections would not help.

mod tables;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, GenericClient, Transaction};

use crate::connect::{ConnectError, Link};
use crate::generate::{Baseline, FORMAT};
use crate::random::Seed;
use crate::schema;
use crate::size::Size;
use tables::Table;

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
    #[error(
        "the store was loaded as data format {found}, this program knows format {known}: load it afresh with --replace"
    )]
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
    mut progress: impl FnMut(LoadProgress) + Send,
) -> Result<StoreInfo, LoadError> {
    let mut link = Link::for_tool(config).await?;
    let present = present_tables(link.client()).await?;
    if !present.is_empty() && !options.replace {
        return Err(LoadError::Occupied(present.join(", ")));
    }
    let (seed, size) = (options.seed, options.size);
    let baseline = tokio::task::spawn_blocking(move || Arc::new(Baseline::compute(seed, size)));
    let baseline = baseline.await.map_err(|_| LoadError::Generator)?;
    let rows_total = tables::ALL.iter().map(|table| table.rows(&baseline)).sum();
    let mut report = |phase, what, rows_done| {
        progress(LoadProgress {
            phase,
            what,
            rows_done,
            rows_total,
        });
    };

    let tx = link
        .client_mut()
        .transaction()
        .await
        .map_err(sql("to begin"))?;
    clear(&tx).await?;
    batch(&tx, "the tables", schema::TABLES).await?;
    let mut rows_done = 0;
    for table in tables::ALL {
        report(Phase::Rows, table.name(), rows_done);
        let before = rows_done;
        rows_done += copy(&tx, table, &baseline, |rows| {
            report(Phase::Rows, table.name(), before + rows);
        })
        .await?;
    }
    report(Phase::Indexes, "indexes", rows_done);
    batch(&tx, "the indexes", schema::INDEXES).await?;
    report(Phase::ForeignKeys, "foreign keys", rows_done);
    batch(&tx, "the foreign keys", schema::FOREIGN_KEYS).await?;
    batch(&tx, "the routines", schema::ROUTINES).await?;
    finish(&tx, seed, size).await?;
    tx.commit().await.map_err(sql("to commit"))?;

    report(Phase::Statistics, "statistics", rows_done);
    // VACUUM also writes the visibility maps, so that nothing is left for the autovacuum of a freshly cloned VM.
    let vacuum = format!("VACUUM ANALYZE {}", schema::TABLE_NAMES.join(", "));
    link.client()
        .batch_execute(&vacuum)
        .await
        .map_err(sql("to gather statistics"))?;
    report(Phase::Done, "", rows_done);
    link.close().await;
    Ok(StoreInfo {
        seed,
        size,
        format: FORMAT,
    })
}

/// Reads which store a database holds.
///
/// # Errors
/// If it cannot be reached, or holds none of ours.
pub async fn inspect(config: &Config) -> Result<StoreInfo, LoadError> {
    let link = Link::for_tool(config).await?;
    let info = store_info(link.client()).await;
    link.close().await;
    info
}

/// Reads which store a connection's database holds.
pub(crate) async fn store_info(client: &impl GenericClient) -> Result<StoreInfo, LoadError> {
    let query = "SELECT format, seed, megabytes FROM godwit_store";
    let row = match client.query_opt(query, &[]).await {
        Ok(Some(row)) => row,
        Ok(None) => return Err(LoadError::NoStore),
        Err(e) if e.code() == Some(&SqlState::UNDEFINED_TABLE) => return Err(LoadError::NoStore),
        Err(e) => return Err(sql("to say what it holds")(e)),
    };
    let found: i32 = row.get(0);
    if found != FORMAT {
        return Err(LoadError::Format {
            found,
            known: FORMAT,
        });
    }
    let seed = row
        .get::<_, &str>(1)
        .parse()
        .map_err(|_| LoadError::NoStore)?;
    let megabytes = u32::try_from(row.get::<_, i32>(2)).map_err(|_| LoadError::NoStore)?;
    let size = Size::from_megabytes(megabytes).map_err(|_| LoadError::NoStore)?;
    Ok(StoreInfo {
        seed,
        size,
        format: found,
    })
}

fn sql(what: &'static str) -> impl Fn(tokio_postgres::Error) -> LoadError {
    move |source| LoadError::Sql { what, source }
}

async fn batch(
    tx: &Transaction<'_>,
    what: &'static str,
    statements: &str,
) -> Result<(), LoadError> {
    tx.batch_execute(statements).await.map_err(sql(what))
}

/// Those of our tables that are there.
async fn present_tables(client: &Client) -> Result<Vec<String>, LoadError> {
    let names: Vec<&str> = schema::TABLE_NAMES.to_vec();
    let query = "SELECT n FROM unnest($1::text[]) AS n WHERE to_regclass(quote_ident(n)) IS NOT NULL ORDER BY n";
    let rows = client
        .query(query, &[&names])
        .await
        .map_err(sql("to list its tables"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Drops what an earlier load made.
async fn clear(tx: &Transaction<'_>) -> Result<(), LoadError> {
    let tables = schema::TABLE_NAMES.join(", ");
    let statements = format!(
        "DROP TABLE IF EXISTS {tables};
         DROP FUNCTION IF EXISTS godwit_restock(), godwit_purchase(uuid, int, int[], smallint[]);
         SET LOCAL maintenance_work_mem = '128MB';"
    );
    batch(
        tx,
        "to drop the old tables (does something else depend on them?)",
        &statements,
    )
    .await
}

/// Copies a table; `progress` gets the rows written so far. Returns the rows.
async fn copy(
    tx: &Transaction<'_>,
    table: Table,
    baseline: &Arc<Baseline>,
    mut progress: impl FnMut(u64),
) -> Result<u64, LoadError> {
    let statement = format!("COPY {} FROM STDIN WITH (FREEZE)", table.target());
    let sink = tx
        .copy_in::<_, Bytes>(&statement)
        .await
        .map_err(sql("to take rows"))?;
    let mut sink = pin!(sink);
    // A few chunks ahead: generating and the server's work overlap, and memory stays small.
    let (chunks, mut received) = tokio::sync::mpsc::channel(4);
    let baseline = baseline.clone();
    let generating = tokio::task::spawn_blocking(move || {
        table.generate(&baseline, |chunk| chunks.blocking_send(chunk).is_ok());
    });
    let mut rows = 0;
    while let Some(chunk) = received.recv().await {
        rows += chunk.rows;
        sink.send(chunk.text).await.map_err(sql("to take rows"))?;
        progress(rows);
    }
    generating.await.map_err(|_| LoadError::Generator)?;
    sink.finish().await.map_err(sql("to take rows"))?;
    Ok(rows)
}

/// Sets the sequences behind the loaded rows and writes down what was loaded.
async fn finish(tx: &Transaction<'_>, seed: Seed, size: Size) -> Result<(), LoadError> {
    let statements = format!(
        "SELECT setval(pg_get_serial_sequence('customers', 'customerid'), {customers});
         SELECT setval(pg_get_serial_sequence('orders', 'orderid'), {orders});
         SELECT setval(pg_get_serial_sequence('products', 'prod_id'), {products});
         INSERT INTO godwit_store (format, seed, megabytes) VALUES ({FORMAT}, '{seed}', {megabytes});",
        customers = size.customers(),
        orders = size.orders(),
        products = size.products(),
        megabytes = size.megabytes(),
    );
    batch(tx, "to set its sequences", &statements).await
}
