//! The farm's keys: its CA, the manager's certificate and the administrator's token. All
//! lie in the database (one file to back up); `ca.pem` and `admin.token` are copies for
//! the command line.

use crate::store::{Store, StoreError};
use godwit_api::agent::PageKey;
use godwit_tls::{Ca, CaError, Identity, KeyedCert, SubjectNames};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Keys that cannot be made, read or written out.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database.
    #[error("the farm's keys cannot be read or kept")]
    Store(#[from] StoreError),
    /// The CA.
    #[error("the farm's CA cannot be used: restore a backup of the manager")]
    Ca(#[from] CaError),
    /// A copy for the command line.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What the manager proves itself and others by.
pub struct FarmKeys {
    /// The farm's CA.
    pub ca: Ca,
    /// The manager's own certificate, for serving and calling.
    pub manager: KeyedCert,
    /// An id of the farm.
    pub farm: String,
    /// The key for hashes of pages.
    pub page_key: PageKey,
    admin_token: blake3::Hash,
}

impl FarmKeys {
    /// Reads the keys, making them at the farm's first start, and writes the copies.
    ///
    /// # Errors
    /// The database or the folder cannot be written.
    pub fn load(store: &Store, folder: &Path, addresses: &[IpAddr]) -> Result<Self, KeysError> {
        let key = store.once("ca_key", || {
            let ca = Ca::create("Godwit farm CA")?;
            store_pair(&ca)
        })??;
        let (cert_pem, key_pem) = split_pair(&key);
        let ca = Ca::load(cert_pem, key_pem)?;
        let names = SubjectNames::addresses(addresses.iter().copied());
        // The manager's certificate is made anew at each start, so that it always names
        // the addresses of today.
        let manager = ca.issue(&Identity::Manager, &names)?;
        let token = store.once("admin_token", || Ok::<_, KeysError>(secret()))??;
        let farm = store.once("farm", || {
            Ok::<_, KeysError>(uuid::Uuid::new_v4().to_string())
        })??;
        let page_key = store.once("page_key", || Ok::<_, KeysError>(secret()))??;
        write(&folder.join("ca.pem"), cert_pem, 0o644)?;
        write(&folder.join("admin.token"), &format!("{token}\n"), 0o600)?;
        Ok(Self {
            ca,
            manager,
            farm,
            page_key: PageKey(page_key),
            admin_token: blake3::hash(token.as_bytes()),
        })
    }

    /// Whether a bearer token is the administrator's. Hashes are compared, in constant time.
    #[must_use]
    pub fn is_admin(&self, token: &str) -> bool {
        blake3::hash(token.as_bytes()) == self.admin_token
    }
}

/// 256 random bits in hex, from two version-4 UUIDs' worth of the system's randomness.
#[must_use]
pub fn secret() -> String {
    let part = || uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}", part(), part())
}

const BETWEEN: &str = "\n--- key ---\n";

#[allow(clippy::unnecessary_wraps)] // the shape that `once` wants
fn store_pair(ca: &Ca) -> Result<String, CaError> {
    Ok(format!("{}{BETWEEN}{}", ca.cert_pem(), ca.key_pem()))
}

fn split_pair(text: &str) -> (&str, &str) {
    text.split_once(BETWEEN).unwrap_or((text, ""))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeysError> {
    let failed = |source| KeysError::Write {
        path: path.to_owned(),
        source,
    };
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_stay_and_only_root_reads_the_token() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::in_memory().expect("opens");
        let first = FarmKeys::load(&store, dir.path(), &[]).expect("makes keys");
        let again = FarmKeys::load(&store, dir.path(), &[]).expect("reads keys");
        assert_eq!(first.ca.cert_pem(), again.ca.cert_pem());
        assert_eq!(first.farm, again.farm);
        let file = dir.path().join("admin.token");
        let mode = std::fs::metadata(&file)
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let token = std::fs::read_to_string(&file).expect("reads");
        assert!(again.is_admin(token.trim()));
        assert!(!again.is_admin("x") && !again.is_admin(""));
    }
}
