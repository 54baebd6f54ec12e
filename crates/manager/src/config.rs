//! `/etc/godwit/manager.toml`. Everything has a default but the addresses people reach.
//!
//! ```toml
//! listen = "10.0.0.1:7440"           # where people, scripts and joining hosts call
//! state_dir = "/var/lib/godwit/manager"
//! addresses = ["10.0.0.1"]           # more addresses that its certificate is good for
//! migrations_per_host = 2            # at once, in and out together
//! starts_per_core = 1                # boots at once on one host, by its cores
//! ```

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The manager's configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the farm's state lies: `godwit.db`, `ca.pem`, `admin.token`.
    pub state_dir: PathBuf,
    /// Addresses, besides `listen`'s, that the manager's certificate is good for.
    pub addresses: Vec<IpAddr>,
    /// Migrations at once on one host, in and out together.
    pub migrations_per_host: usize,
    /// Guests that boot at once on one host, for each of its cores.
    pub starts_per_core: usize,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, godwit_api::farm::MANAGER_PORT)),
            state_dir: PathBuf::from("/var/lib/godwit/manager"),
            addresses: Vec::new(),
            migrations_per_host: 2,
            starts_per_core: 1,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: create it, or name another with --config", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a manager's configuration", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A limit of nought would stop everything.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
}

impl ManagerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file is missing, not TOML, has an unknown key or a limit of nought.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source,
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        match (self.migrations_per_host, self.starts_per_core) {
            (0, _) => Err(ConfigError::Zero("migrations_per_host")),
            (_, 0) => Err(ConfigError::Zero("starts_per_core")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(toml::from_str::<ManagerConfig>("lisen = \"127.0.0.1:1\"").is_err());
        let config: ManagerConfig = toml::from_str("listen = \"10.0.0.1:7440\"").expect("parses");
        assert_eq!(config.check().map_err(|e| e.to_string()), Ok(()));
        let zero: ManagerConfig = toml::from_str("starts_per_core = 0").expect("parses");
        assert!(zero.check().is_err());
    }
}
