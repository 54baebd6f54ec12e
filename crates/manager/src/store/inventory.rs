//! Hosts, VMs and templates.

use super::{Result, Store, from_json, taken, to_json};
use godwit_api::agent::TemplateFile;
use godwit_model::epoch::Epoch;
use godwit_model::host::HostFacts;
use godwit_model::ids::{HostId, VmId};
use godwit_model::vm::VmDefinition;
use rusqlite::params;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::SocketAddr;

/// A host that has joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    /// Its id.
    pub id: HostId,
    /// Where its agent answers.
    pub address: SocketAddr,
    /// What it last said of itself.
    pub facts: Option<HostFacts>,
}

/// A VM of the farm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmRow {
    /// What it is.
    pub definition: VmDefinition,
    /// The host that has it.
    pub host: HostId,
    /// The newest epoch that is known.
    pub newest_epoch: Option<Epoch>,
    /// Made, or still being made by a task.
    pub made: bool,
}

/// A template of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRow {
    /// What it is.
    pub template: TemplateFile,
    /// The datastore it lies on.
    pub datastore: String,
    /// Made, or still being made by a task.
    pub made: bool,
}

impl Store {
    /// Every host.
    ///
    /// # Errors
    /// The database fails.
    pub fn hosts(&self) -> Result<Vec<HostRow>> {
        self.all("SELECT json FROM hosts ORDER BY id")
    }

    /// Writes a host, new or changed.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_host(&self, host: &HostRow) -> Result<()> {
        let json = to_json(host)?;
        self.run(|db| {
            db.execute(
                "INSERT OR REPLACE INTO hosts VALUES (?1, ?2)",
                params![host.id.as_str(), json],
            )?;
            Ok(())
        })
    }

    /// Forgets a host.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_host(&self, id: &HostId) -> Result<()> {
        self.run(|db| {
            db.execute("DELETE FROM hosts WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })
    }

    /// Every VM.
    ///
    /// # Errors
    /// The database fails.
    pub fn vms(&self) -> Result<Vec<VmRow>> {
        self.all("SELECT json FROM vms ORDER BY name")
    }

    /// Adds a VM; its name is reserved from now on.
    ///
    /// # Errors
    /// The name is taken, or the database fails.
    pub fn insert_vm(&self, vm: &VmRow) -> Result<()> {
        let (id, name) = (vm.definition.id.to_string(), &vm.definition.name);
        let json = to_json(vm)?;
        self.run(|db| {
            db.execute(
                "INSERT INTO vms VALUES (?1, ?2, ?3)",
                params![id, name, json],
            )
            .map_err(|error| taken(error, name))?;
            Ok(())
        })
    }

    /// Writes a VM that is there.
    ///
    /// # Errors
    /// The database fails.
    pub fn update_vm(&self, vm: &VmRow) -> Result<()> {
        let json = to_json(vm)?;
        self.run(|db| {
            db.execute(
                "UPDATE vms SET json = ?2 WHERE id = ?1",
                params![vm.definition.id.to_string(), json],
            )?;
            Ok(())
        })
    }

    /// Forgets a VM.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_vm(&self, id: VmId) -> Result<()> {
        self.run(|db| {
            db.execute("DELETE FROM vms WHERE id = ?1", [id.to_string()])?;
            Ok(())
        })
    }

    /// Every template.
    ///
    /// # Errors
    /// The database fails.
    pub fn templates(&self) -> Result<Vec<TemplateRow>> {
        self.all("SELECT json FROM templates ORDER BY name")
    }

    /// Adds a template; its name is reserved from now on.
    ///
    /// # Errors
    /// The name is taken, or the database fails.
    pub fn insert_template(&self, row: &TemplateRow) -> Result<()> {
        let (name, json) = (&row.template.name, to_json(row)?);
        self.run(|db| {
            db.execute("INSERT INTO templates VALUES (?1, ?2)", params![name, json])
                .map_err(|error| taken(error, name))?;
            Ok(())
        })
    }

    /// Writes a template that is there.
    ///
    /// # Errors
    /// The database fails.
    pub fn update_template(&self, row: &TemplateRow) -> Result<()> {
        let json = to_json(row)?;
        self.run(|db| {
            db.execute(
                "UPDATE templates SET json = ?2 WHERE name = ?1",
                params![row.template.name, json],
            )?;
            Ok(())
        })
    }

    /// Forgets a template.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_template(&self, name: &str) -> Result<()> {
        self.run(|db| {
            db.execute("DELETE FROM templates WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// All rows of a query whose only column is JSON.
    pub(super) fn all<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>> {
        self.run(|db| {
            let mut statement = db.prepare_cached(query)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|row| from_json(&row?)).collect()
        })
    }
}
