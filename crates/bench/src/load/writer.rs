//! A memory writer in the guest, with a knob: over the database connection, since the guest has nothing else.
//!
//! A table without a log, each row alone in its block of 8 KiB: changing a row's column writes a new version of it into
//! the same block, which changes both 4 KiB pages of it. Each tenth of a second one statement changes the next so many
//! rows, round and round. The table fits PostgreSQL's buffers, so nothing of it is read or written back meanwhile.
//! A guest that cannot keep up falls behind; it is not asked for more later.

use std::time::Duration;

use godwit_dvdstore::connect::{Link, parse_url};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::error::BenchError;
use crate::options::Identity;

/// Blocks of the table: 32 MiB.
const BLOCKS: u32 = 4096;
/// Guest pages in a block.
const PAGES_IN_BLOCK: u32 = 2;
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SECOND: u32 = 10;

/// More than a third of a block in each row: a second fits beside it (the new version), a third does not.
const MAKE: &str = "
    DROP TABLE IF EXISTS godwit_writer;
    CREATE UNLOGGED TABLE godwit_writer (id int, n int, filler text) WITH (fillfactor = 40, autovacuum_enabled = off);
    ALTER TABLE godwit_writer ALTER filler SET STORAGE PLAIN;
    INSERT INTO godwit_writer SELECT id, 0, repeat(md5(id::text), 90) FROM generate_series(0, 4095) AS id;
    CREATE UNIQUE INDEX ON godwit_writer (id);
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;";
const CHANGE: &str = "UPDATE godwit_writer SET n = n + 1 WHERE id >= $1 AND id < $2";

/// A writer; it ends with this value.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Writer {
    /// Makes the table and begins.
    ///
    /// # Errors
    /// The guest's database refuses.
    pub async fn start(vm: &Identity, pages_per_second: u32) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Load {
            vm: vm.name.clone(),
            source,
        };
        let config = parse_url(&vm.database())?;
        let link = Link::for_tool(&config).await;
        let link = link.map_err(|error| BenchError::failed(&vm.name, error.to_string()))?;
        link.client().batch_execute(MAKE).await.map_err(failed)?;
        let change = link.client().prepare(CHANGE).await.map_err(failed)?;
        let step = rows(pages_per_second);
        let work = async move {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut from = 0;
            loop {
                tick.tick().await;
                for (from, until) in ranges(from, step) {
                    let range: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&from, &until];
                    if link.client().execute(&change, &range).await.is_err() {
                        return;
                    }
                }
                from = (from + step) % BLOCKS;
            }
        };
        Ok(Self(tokio::spawn(work)))
    }
}

/// Rows to change each tick.
fn rows(pages_per_second: u32) -> u32 {
    let blocks = pages_per_second / PAGES_IN_BLOCK;
    blocks.div_ceil(TICKS_PER_SECOND).min(BLOCKS)
}

/// The rows from one on, round the end of the table, as ranges of ids.
fn ranges(from: u32, rows: u32) -> impl Iterator<Item = (i32, i32)> {
    let until = from + rows;
    let parts = [(from, until.min(BLOCKS)), (0, until.saturating_sub(BLOCKS))];
    let filled = parts.into_iter().filter(|(from, until)| from < until);
    // The table's length fits easily.
    filled.map(|(from, until)| (from as i32, until as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knob_is_in_pages() {
        assert_eq!(rows(1000), 50);
        assert_eq!(rows(0), 0);
        assert_eq!(rows(u32::MAX), BLOCKS);
    }

    #[test]
    fn writing_goes_round_and_round() {
        assert_eq!(ranges(10, 5).collect::<Vec<_>>(), [(10, 15)]);
        assert_eq!(ranges(4090, 10).collect::<Vec<_>>(), [(4090, 4096), (0, 4)]);
        assert_eq!(ranges(0, 0).count(), 0);
    }
}
