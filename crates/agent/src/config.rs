//! The agent's configuration file, `/etc/godwit/agent.toml`.
//!
//! ```toml
//! id = "blade1"                        # the host's id in the farm: a-z 0-9 - .
//! listen = "10.77.0.11:7443"           # management address; the manager and other agents call it
//! migration_address = "192.168.1.201"  # relays listen here for VMs that move to this host
//! run_dir = "/run/godwit"              # default; sockets, short-lived
//! state_dir = "/var/lib/godwit/agent"  # default; identity and records of VMs
//! cores = [0]                          # default: all; the host's share of the machine
//! cpu_accounting = "host"              # default; "processes" where only the own PID namespace counts
//! accelerator = "auto"                 # default; "tcg" or "kvm" to skip the probe
//! memory_reserve = "256M"              # default; kept free when a VM is accepted
//! page_store = "6G"                    # default: a quarter of memory; on the state directory's disk; "0" for none
//!
//! [[cards]]
//! name = "eth0"
//! roles = ["management"]
//!
//! [[cards]]
//! name = "eth1"
//! roles = ["vm", "migration"]          # shared: VMs are guaranteed their part, migration uses the rest
//! mbit = 1000                          # needed for sharing
//!
//! [[switches]]                         # a virtual switch: VMs' cards name it
//! name = "production"
//! bridge = "br-prod"
//! uplink = "eth1"                      # optional: the card that connects it to other hosts
//! address = "192.168.1.201/24"         # optional: given to the bridge (an uplink's own is dead)
//!
//! [[datastores]]
//! name = "SAN1"
//! path = "/datastores/SAN1"            # absolute; the same on all hosts, since overlays name it
//! ```
//! Unknown keys are errors. The identity lies in the state directory, see [`crate::identity`].

use godwit_model::host::{Card, CardRole};
use godwit_model::ids::{HostId, is_label};
use godwit_model::units::Bytes;
use godwit_net::address::Cidr;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the configuration is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/godwit/agent.toml";

/// What the host's administrator decides. See the module's description for an example.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The host's id in the farm.
    pub id: HostId,
    /// Where the agent serves.
    pub listen: SocketAddr,
    /// Where relays listen.
    pub migration_address: IpAddr,
    /// Sockets and lock.
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    /// Identity and records.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// CPUs given to this host; all of the machine's if absent.
    #[serde(default)]
    pub cores: Option<Vec<usize>>,
    /// What counts as this host's CPU time.
    #[serde(default)]
    pub cpu_accounting: CpuAccounting,
    /// Who executes guests.
    #[serde(default)]
    pub accelerator: AcceleratorChoice,
    /// Memory that stays free when a VM is accepted.
    #[serde(default = "memory_reserve", deserialize_with = "size")]
    pub memory_reserve: Bytes,
    /// How large the page store may become; a quarter of the machine's memory if absent, zero for none.
    #[serde(default, deserialize_with = "optional_size")]
    pub page_store: Option<Bytes>,
    /// Network cards and what they are for.
    #[serde(default)]
    pub cards: Vec<CardConfig>,
    /// Virtual switches.
    #[serde(default)]
    pub switches: Vec<SwitchConfig>,
    /// Datastores.
    #[serde(default)]
    pub datastores: Vec<DatastoreConfig>,
}

/// What counts as the host's CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuAccounting {
    /// Everything that the machine did, from `/proc/stat`.
    #[default]
    Host,
    /// The processes of the agent's own PID namespace: for several hosts on one kernel.
    Processes,
}

/// Who executes guests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorChoice {
    /// KVM where a probe shows that it works, else TCG.
    #[default]
    Auto,
    /// KVM, unasked.
    Kvm,
    /// TCG, unasked.
    Tcg,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardConfig {
    /// Interface name.
    pub name: String,
    /// What it is for.
    pub roles: Vec<CardRole>,
    /// Its rate in Mbit/s, to be shared out where VMs and migration use it both.
    #[serde(default)]
    pub mbit: Option<u32>,
}

impl CardConfig {
    /// Whether VMs and migration share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.roles.contains(&CardRole::Vm) && self.roles.contains(&CardRole::Migration)
    }

    /// As the host tells it.
    #[must_use]
    pub fn facts(&self) -> Card {
        Card {
            name: self.name.clone(),
            roles: self.roles.clone(),
            mbit: self.mbit,
        }
    }
}

/// A virtual switch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchConfig {
    /// The network's name, the same on all hosts.
    pub name: String,
    /// The bridge that it is on this host.
    pub bridge: String,
    /// The card that connects it to other hosts.
    #[serde(default)]
    pub uplink: Option<String>,
    /// An address of this host on it, with prefix length.
    #[serde(default, deserialize_with = "cidr")]
    pub address: Option<Cidr>,
}

/// A datastore.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatastoreConfig {
    /// Its name, the same on all hosts.
    pub name: String,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: create it (see docs/agent.toml.example) or name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has unknown or missing keys.
    #[error("{} is not a valid agent configuration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong and what to write.
        problem: String,
    },
}

impl AgentConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it cannot be read, is no valid TOML, or a value makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what can be checked without looking at the host.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (key, dir) in [("run_dir", &self.run_dir), ("state_dir", &self.state_dir)] {
            if !dir.is_absolute() {
                return Err(wrong(
                    key,
                    format!("{} is not an absolute path", dir.display()),
                ));
            }
        }
        if self.cores.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong(
                "cores",
                "an empty list: leave the key out to use all",
            ));
        }
        self.check_cards()?;
        self.check_switches()?;
        self.check_datastores()
    }

    fn check_cards(&self) -> Result<(), ConfigError> {
        unique("cards", self.cards.iter().map(|card| card.name.as_str()))?;
        for card in &self.cards {
            let key = format!("cards `{}`", card.name);
            godwit_net::link::check_name(&card.name).map_err(|e| wrong(&key, e.to_string()))?;
            if card.mbit == Some(0) {
                return Err(wrong(&key, "mbit = 0: give its rate, such as 1000"));
            }
        }
        Ok(())
    }

    fn check_switches(&self) -> Result<(), ConfigError> {
        unique("switches", self.switches.iter().map(|s| s.name.as_str()))?;
        unique(
            "switches (bridge)",
            self.switches.iter().map(|s| s.bridge.as_str()),
        )?;
        for switch in &self.switches {
            let key = format!("switches `{}`", switch.name);
            if !is_label(&switch.name) {
                return Err(wrong(&key, "use 1 to 63 characters of a-z 0-9 - ."));
            }
            godwit_net::link::check_name(&switch.bridge).map_err(|e| wrong(&key, e.to_string()))?;
            if let Some(uplink) = &switch.uplink
                && !self.cards.iter().any(|card| card.name == *uplink)
            {
                return Err(wrong(
                    &key,
                    format!("uplink `{uplink}` is not among the cards: add it there"),
                ));
            }
        }
        Ok(())
    }

    fn check_datastores(&self) -> Result<(), ConfigError> {
        unique(
            "datastores",
            self.datastores.iter().map(|d| d.name.as_str()),
        )?;
        for datastore in &self.datastores {
            let key = format!("datastores `{}`", datastore.name);
            if !is_datastore_name(&datastore.name) {
                return Err(wrong(&key, "use 1 to 63 letters, digits, `-`, `_` and `.`"));
            }
            if !datastore.path.is_absolute() {
                return Err(wrong(
                    &key,
                    format!("{} is not an absolute path", datastore.path.display()),
                ));
            }
        }
        Ok(())
    }

    /// What the card that migrations use can carry a second, where its rate is known.
    #[must_use]
    pub fn migration_rate(&self) -> Option<Bytes> {
        let card = self
            .cards
            .iter()
            .find(|card| card.roles.contains(&CardRole::Migration))?;
        card.mbit.map(|mbit| Bytes(u64::from(mbit) * 1_000_000 / 8))
    }

    /// The datastore of that name.
    #[must_use]
    pub fn datastore(&self, name: &str) -> Option<&DatastoreConfig> {
        self.datastores
            .iter()
            .find(|datastore| datastore.name == name)
    }

    /// The switch of that name.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<&SwitchConfig> {
        self.switches.iter().find(|switch| switch.name == name)
    }
}

fn is_datastore_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=63).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.')
}

fn unique<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(wrong(key, format!("`{name}` is there twice: remove one")));
        }
    }
    Ok(())
}

fn wrong(key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn run_dir() -> PathBuf {
    "/run/godwit".into()
}

fn state_dir() -> PathBuf {
    "/var/lib/godwit/agent".into()
}

fn memory_reserve() -> Bytes {
    Bytes::mib(256)
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

fn optional_size<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Bytes>, D::Error> {
    size(deserializer).map(Some)
}

fn cidr<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Cidr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|bits| *bits <= 32)?;
        Some(Cidr::new(address, prefix))
    });
    parsed.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "`{text}`: write an address with its prefix length, such as 192.168.1.201/24"
        ))
    })
}

#[cfg(test)]
mod tests;
