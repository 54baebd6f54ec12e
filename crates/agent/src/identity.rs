//! The host's identity: files in the state directory, all of them mode 0600.
//!
//! `agent.pem`, `agent.key` (who the agent is), `relay.pem`, `relay.key` (who its relays are),
//! `ca.pem` (whom they believe). `godwit agent join` makes them.

use godwit_tls::KeyedCert;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The files, as text.
#[derive(Clone)]
pub struct HostIdentity {
    /// The agent's certificate and key.
    pub agent: KeyedCert,
    /// The relays' certificate and key.
    pub relay: KeyedCert,
    /// The farm CA's certificate.
    pub ca_pem: String,
}

/// The identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or unreadable.
    #[error("cannot read {}: join the farm first with `godwit agent join`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: check the state directory", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl HostIdentity {
    /// Whether a host has joined a farm already.
    #[must_use]
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join("agent.pem").exists()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = state_dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| IdentityError::Read { path, source })
        };
        let keyed = |who: &str| {
            Ok(KeyedCert {
                cert_pem: read(&format!("{who}.pem"))?,
                key_pem: read(&format!("{who}.key"))?,
            })
        };
        Ok(Self {
            agent: keyed("agent")?,
            relay: keyed("relay")?,
            ca_pem: read("ca.pem")?,
        })
    }

    /// Writes the files, replacing older ones; `agent.pem` last, since it says that all are there.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn store(&self, state_dir: &Path) -> Result<(), IdentityError> {
        std::fs::create_dir_all(state_dir).map_err(|source| IdentityError::Write {
            path: state_dir.to_owned(),
            source,
        })?;
        for (name, content) in [
            ("ca.pem", &self.ca_pem),
            ("relay.key", &self.relay.key_pem),
            ("relay.pem", &self.relay.cert_pem),
            ("agent.key", &self.agent.key_pem),
            ("agent.pem", &self.agent.cert_pem),
        ] {
            let path = state_dir.join(name);
            write_private(&path, content.as_bytes())
                .map_err(|source| IdentityError::Write { path, source })?;
        }
        Ok(())
    }
}

/// Replaces a file as a whole and durably; nobody but its owner may read it.
///
/// # Errors
/// If the file system refuses.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(".new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temp)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_stored_is_read_and_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!HostIdentity::exists(dir.path()));
        let keyed = |text: &str| KeyedCert {
            cert_pem: format!("{text} cert"),
            key_pem: format!("{text} key"),
        };
        let identity = HostIdentity {
            agent: keyed("agent"),
            relay: keyed("relay"),
            ca_pem: "ca".into(),
        };
        identity.store(dir.path()).unwrap();
        assert!(HostIdentity::exists(dir.path()));
        let read = HostIdentity::load(dir.path()).unwrap();
        assert_eq!(read.relay.key_pem, "relay key");
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_host_that_has_not_joined_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let Err(error) = HostIdentity::load(dir.path()) else {
            panic!("nothing is there");
        };
        assert!(error.to_string().contains("godwit agent join"));
    }
}
