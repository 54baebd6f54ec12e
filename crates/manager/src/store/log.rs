//! What happened (events) and who asked for what (audit): appended, never changed.

use super::{Result, Store, from_json, to_json};
use godwit_api::farm::AuditRecord;
use godwit_model::task::FarmEvent;
use rusqlite::params;

/// Events kept; older ones are dropped. The audit log is kept whole.
const EVENTS_KEPT: i64 = 100_000;

impl Store {
    /// Appends an event and gives it its number.
    ///
    /// # Errors
    /// The database fails.
    pub fn append_event(&self, mut event: FarmEvent) -> Result<FarmEvent> {
        self.run(|db| {
            let change = db.transaction()?;
            change.execute("INSERT INTO events (json) VALUES ('')", [])?;
            let id = change.last_insert_rowid();
            event.id = id.unsigned_abs();
            let json = to_json(&event)?;
            change.execute(
                "UPDATE events SET json = ?2 WHERE id = ?1",
                params![id, json],
            )?;
            change.execute("DELETE FROM events WHERE id <= ?1", [id - EVENTS_KEPT])?;
            change.commit()?;
            Ok(event)
        })
    }

    /// Events with a number above `since`, oldest first, at most `limit`. Without `since`:
    /// the newest `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn events(&self, since: Option<u64>, limit: u32) -> Result<Vec<FarmEvent>> {
        match since {
            Some(since) => self.page(
                "SELECT json FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
                i64::try_from(since).unwrap_or(i64::MAX),
                limit,
            ),
            None => self.newest("events", limit),
        }
    }

    /// Appends a line of the audit log.
    ///
    /// # Errors
    /// The database fails; the request must then not be carried out.
    pub fn append_audit(&self, mut record: AuditRecord) -> Result<()> {
        self.run(|db| {
            let change = db.transaction()?;
            change.execute("INSERT INTO audit (json) VALUES ('')", [])?;
            let id = change.last_insert_rowid();
            record.id = id.unsigned_abs();
            let json = to_json(&record)?;
            change.execute(
                "UPDATE audit SET json = ?2 WHERE id = ?1",
                params![id, json],
            )?;
            change.commit()?;
            Ok(())
        })
    }

    /// The newest `limit` lines of the audit log, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>> {
        self.newest("audit", limit)
    }

    fn newest<T: serde::de::DeserializeOwned>(&self, table: &str, limit: u32) -> Result<Vec<T>> {
        let query = format!("SELECT json FROM {table} WHERE id > ?1 ORDER BY id DESC LIMIT ?2");
        let mut rows = self.page(&query, 0, limit)?;
        rows.reverse();
        Ok(rows)
    }

    fn page<T: serde::de::DeserializeOwned>(
        &self,
        query: &str,
        above: i64,
        limit: u32,
    ) -> Result<Vec<T>> {
        self.run(|db| {
            let mut statement = db.prepare_cached(query)?;
            let rows = statement.query_map(params![above, limit], |row| row.get::<_, String>(0))?;
            rows.map(|row| from_json(&row?)).collect()
        })
    }
}
