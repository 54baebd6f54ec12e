//! A host's page store, as it is shown.

use godwit_model::ids::VmId;
use godwit_model::units::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// What a host's page store holds and how it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageStoreReport {
    /// Its file on the host.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// How large it may become; zero: the host shall have none.
    pub size: Bytes,
    /// How many pages of 4 KiB it has room for; zero as long as no migration has used it.
    pub capacity: u64,
    /// How many pages it holds.
    pub pages: u64,
    /// Pages that were looked for and found.
    pub hits: u64,
    /// Pages that were looked for and not found.
    pub misses: u64,
    /// Pages that were found damaged, and therefore not used.
    pub bad: u64,
    /// Whose pages it holds, the VM seen longest ago first: that is whose pages go first.
    pub vms: Vec<PageStoreVm>,
}

/// What a page store holds of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageStoreVm {
    /// The VM.
    pub vm: VmId,
    /// How many pages came with its migrations.
    pub pages: u64,
    /// When it was last seen, in seconds since 1970.
    pub seen: u64,
}
