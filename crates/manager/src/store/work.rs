//! Tasks, with what they were asked to do, and migrations.

use super::{Result, Store, from_json, to_json};
use crate::work::Order;
use godwit_api::farm::MigrationInfo;
use godwit_model::ids::MigrationId;
use godwit_model::task::Task;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// A task and the order that it carries out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// The task.
    pub task: Task,
    /// What it does: enough to go on after a restart.
    pub order: Order,
}

/// A migration of the farm.
pub type MigrationRow = MigrationInfo;

/// Finished tasks kept; older ones are dropped.
const TASKS_KEPT: u32 = 10_000;

impl Store {
    /// Writes a task, new or changed.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_task(&self, row: &TaskRow) -> Result<()> {
        let json = to_json(row)?;
        let task = &row.task;
        self.run(|db| {
            db.execute(
                "INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3, ?4)",
                params![
                    task.id.to_string(),
                    task.queued.unix_timestamp_nanos() as i64,
                    task.state.is_final(),
                    json
                ],
            )?;
            Ok(())
        })
    }

    /// Tasks that have not ended, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn open_tasks(&self) -> Result<Vec<TaskRow>> {
        self.all("SELECT json FROM tasks WHERE final = 0 ORDER BY queued")
    }

    /// The newest tasks, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn tasks(&self, limit: u32) -> Result<Vec<TaskRow>> {
        self.all(&format!(
            "SELECT json FROM tasks ORDER BY queued DESC LIMIT {limit}"
        ))
    }

    /// Drops the oldest finished tasks beyond what is kept.
    ///
    /// # Errors
    /// The database fails.
    pub fn trim_tasks(&self) -> Result<()> {
        self.run(|db| {
            db.execute(
                "DELETE FROM tasks WHERE final = 1 AND id NOT IN
                 (SELECT id FROM tasks ORDER BY queued DESC LIMIT ?1)",
                [TASKS_KEPT],
            )?;
            Ok(())
        })
    }

    /// Writes a migration, new or changed.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_migration(&self, row: &MigrationRow, began: i64) -> Result<()> {
        let json = to_json(row)?;
        self.run(|db| {
            db.execute(
                "INSERT INTO migrations VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET json = excluded.json",
                params![row.id.to_string(), began, json],
            )?;
            Ok(())
        })
    }

    /// One migration.
    ///
    /// # Errors
    /// The database fails.
    pub fn migration(&self, id: MigrationId) -> Result<Option<MigrationRow>> {
        self.run(|db| {
            let json: Option<String> = db
                .query_row(
                    "SELECT json FROM migrations WHERE id = ?1",
                    [id.to_string()],
                    |row| row.get(0),
                )
                .optional()?;
            json.map(|json| from_json(&json)).transpose()
        })
    }

    /// The newest migrations, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn migrations(&self, limit: u32) -> Result<Vec<MigrationRow>> {
        self.all(&format!(
            "SELECT json FROM migrations ORDER BY began DESC LIMIT {limit}"
        ))
    }
}
