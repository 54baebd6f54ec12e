//! Migrations, to look at.

use super::{Answer, Caller, Service, internal, not_found};
use godwit_api::error::{ApiError, ErrorCode};
use godwit_api::farm::{EchoReport, MigrationInfo};
use godwit_model::ids::MigrationId;

impl Service {
    /// The newest migrations, newest first.
    ///
    /// # Errors
    /// No right, or the database fails.
    pub fn migrations(&self, caller: &Caller, limit: u32) -> Answer<Vec<MigrationInfo>> {
        self.may_read(caller)?;
        self.core
            .store
            .migrations(limit)
            .map_err(|error| internal(&error))
    }

    /// One migration.
    ///
    /// # Errors
    /// No right, or there is none.
    pub fn migration(&self, caller: &Caller, id: MigrationId) -> Answer<MigrationInfo> {
        self.may_read(caller)?;
        let found = self
            .core
            .store
            .migration(id)
            .map_err(|error| internal(&error))?;
        found.ok_or_else(|| not_found("migration", &id.to_string()))
    }

    /// Puts what an echo probe saw into a receipt.
    ///
    /// # Errors
    /// No right, there is none, or it has no receipt yet.
    pub fn report_echo(&self, caller: &Caller, id: MigrationId, seen: EchoReport) -> Answer<()> {
        self.change(caller, "migration.echo", &id.to_string(), || {
            let store = &self.core.store;
            let mut info = store
                .migration(id)
                .map_err(|error| internal(&error))?
                .ok_or_else(|| not_found("migration", &id.to_string()))?;
            let Some(receipt) = info.receipt.as_mut() else {
                let why = format!("migration {id} has no receipt yet");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            };
            receipt.echo_blackout_ms = Some(seen.blackout_ms);
            let began = receipt.began.unix_timestamp();
            store
                .put_migration(&info, began)
                .map_err(|error| internal(&error))
        })
    }
}
