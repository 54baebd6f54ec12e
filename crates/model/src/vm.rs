//! What a VM is: its definition (the virtual hardware, equal at both ends of a
//! migration) and the states it can be in.

use crate::ids::{VmId, is_label};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The version of the virtual-hardware contract that a definition follows. It fixes what
/// the guest sees beyond the definition's own fields: device models, addresses, options.
pub const HARDWARE_VERSION: u32 = 1;

/// The machine type of new VMs: offered by QEMU 7.2 and 10.0 alike.
pub const DEFAULT_MACHINE: &str = "pc-i440fx-7.2";

/// The CPU model of new VMs where the farm has no other baseline: offered everywhere,
/// and quick under software emulation.
pub const DEFAULT_CPU_MODEL: &str = "Nehalem";

/// A VM as it is written to its datastore and given to hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmDefinition {
    /// Its id.
    pub id: VmId,
    /// Its name: unique in the farm, fit for a host name.
    pub name: String,
    /// Version of the hardware contract ([`HARDWARE_VERSION`]).
    pub hardware: u32,
    /// QEMU machine type, by version.
    pub machine: String,
    /// QEMU CPU model: the farm's baseline, never the host's own.
    pub cpu_model: String,
    /// Memory.
    pub memory: Bytes,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// The datastore that holds the VM's directory (definition, epochs, first disk).
    pub datastore: String,
    /// Disks, in the order of their device addresses.
    pub disks: Vec<Disk>,
    /// Read-only image offered as a CD-ROM or seed (NoCloud, installation ISO).
    pub media: Vec<Medium>,
    /// Network cards, in the order of their device addresses.
    pub nics: Vec<Nic>,
    /// Where the guest boots from.
    pub boot: Boot,
    /// The address given by customization, if any: where the echo probe and drivers look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<std::net::Ipv4Addr>,
    /// The template it was cloned from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The application that it is a part of, if any: two VMs of one application are never moved at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Free text of the people who run the farm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

/// A disk: a file on a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Datastore name.
    pub datastore: String,
    /// Path inside the datastore.
    pub path: String,
    /// Format of the file.
    pub format: DiskFormat,
    /// Virtual size.
    pub size: Bytes,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU copy on write, version 2 or 3.
    Qcow2,
    /// Plain blocks.
    Raw,
}

impl DiskFormat {
    /// The name that QEMU knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A read-only image: a seed or an ISO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Medium {
    /// Datastore name.
    pub datastore: String,
    /// Path inside the datastore.
    pub path: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nic {
    /// The virtual switch (network) that it is plugged into; hosts must have one of that name.
    pub network: String,
    /// MAC address, `52:54:00:…`.
    pub mac: String,
}

/// Where a guest boots from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Boot {
    /// The first disk.
    Disk,
    /// The first medium, once; then the first disk.
    Cdrom,
    /// A kernel on the datastore, given to the guest directly.
    Kernel {
        /// Datastore name.
        datastore: String,
        /// Path of the kernel inside the datastore.
        kernel: String,
        /// Path of the initial RAM disk inside the datastore.
        initrd: String,
        /// Kernel command line.
        append: String,
    },
}

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Names go into host names and file names.
    #[error("VM name `{0}`: use 1 to 63 characters of a-z, 0-9, `-` and `.`")]
    Name(String),
    /// The application's name.
    #[error("`{0}` cannot name an application: use 1 to 63 characters of a-z 0-9 - .")]
    Application(String),
    /// A version written by a newer Godwit.
    #[error(
        "hardware version {0} is not known here (this Godwit knows {HARDWARE_VERSION}): upgrade this host"
    )]
    Hardware(u32),
    /// Memory outside what the machine type can address simply.
    #[error("memory of {0}: give 16M to 1T in whole MiB")]
    Memory(Bytes),
    /// vCPUs outside what is supported.
    #[error("{0} vCPUs: give 1 to 64")]
    Vcpus(u32),
    /// A path that leads out of the datastore.
    #[error("path `{0}` must be relative and stay inside its datastore")]
    Path(String),
    /// More devices than the contract has addresses for.
    #[error("{count} {what}: at most {limit} are supported")]
    TooMany {
        /// Which kind of device.
        what: &'static str,
        /// How many were given.
        count: usize,
        /// How many fit.
        limit: usize,
    },
    /// A MAC address that QEMU would refuse.
    #[error("MAC address `{0}`: write six pairs of hex digits, unicast, such as 52:54:00:12:34:56")]
    Mac(String),
    /// A name of a machine or CPU that could carry QEMU options.
    #[error("`{0}` is not a machine type or CPU model: letters, digits, `-`, `.` and `_` only")]
    Model(String),
}

impl VmDefinition {
    /// Disks at most.
    pub const MAX_DISKS: usize = 8;
    /// Media at most.
    pub const MAX_MEDIA: usize = 2;
    /// Network cards at most.
    pub const MAX_NICS: usize = 8;

    /// Checks everything that can be checked without a host.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), DefinitionError> {
        if !is_label(&self.name) {
            return Err(DefinitionError::Name(self.name.clone()));
        }
        if let Some(application) = self.application.as_ref().filter(|name| !is_label(name)) {
            return Err(DefinitionError::Application(application.clone()));
        }
        if self.hardware != HARDWARE_VERSION {
            return Err(DefinitionError::Hardware(self.hardware));
        }
        for model in [&self.machine, &self.cpu_model] {
            if !is_model_name(model) {
                return Err(DefinitionError::Model(model.clone()));
            }
        }
        let whole_mib = self.memory.0.is_multiple_of(1 << 20);
        if !whole_mib || !(16..=1 << 20).contains(&self.memory.as_mib()) {
            return Err(DefinitionError::Memory(self.memory));
        }
        if !(1..=64).contains(&self.vcpus) {
            return Err(DefinitionError::Vcpus(self.vcpus));
        }
        limit("disks", self.disks.len(), Self::MAX_DISKS)?;
        limit("media", self.media.len(), Self::MAX_MEDIA)?;
        limit("network cards", self.nics.len(), Self::MAX_NICS)?;
        self.paths().try_for_each(check_path)?;
        self.nics.iter().try_for_each(|nic| check_mac(&nic.mac))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let kernel = match &self.boot {
            Boot::Kernel { kernel, initrd, .. } => vec![kernel.as_str(), initrd.as_str()],
            Boot::Disk | Boot::Cdrom => Vec::new(),
        };
        self.disks
            .iter()
            .map(|disk| disk.path.as_str())
            .chain(self.media.iter().map(|medium| medium.path.as_str()))
            .chain(kernel)
    }

    /// The names of all datastores that a host must see to run this VM.
    #[must_use]
    pub fn datastores(&self) -> std::collections::BTreeSet<&str> {
        let kernel = match &self.boot {
            Boot::Kernel { datastore, .. } => Some(datastore.as_str()),
            Boot::Disk | Boot::Cdrom => None,
        };
        std::iter::once(self.datastore.as_str())
            .chain(self.disks.iter().map(|disk| disk.datastore.as_str()))
            .chain(self.media.iter().map(|medium| medium.datastore.as_str()))
            .chain(kernel)
            .collect()
    }
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), DefinitionError> {
    if count > limit {
        Err(DefinitionError::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

fn is_model_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn check_path(path: &str) -> Result<(), DefinitionError> {
    use std::path::{Component, Path};
    let inside = !path.is_empty()
        && !path.contains('\0')
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if inside {
        Ok(())
    } else {
        Err(DefinitionError::Path(path.to_owned()))
    }
}

fn check_mac(mac: &str) -> Result<(), DefinitionError> {
    let pairs: Vec<_> = mac
        .split(':')
        .map(|pair| (pair.len(), u8::from_str_radix(pair, 16)))
        .collect();
    let well_formed = pairs.len() == 6 && pairs.iter().all(|(len, byte)| *len == 2 && byte.is_ok());
    let unicast = matches!(pairs.first(), Some((_, Ok(byte))) if byte & 1 == 0);
    if well_formed && unicast {
        Ok(())
    } else {
        Err(DefinitionError::Mac(mac.to_owned()))
    }
}

/// What a VM is doing, as its host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Defined; no QEMU runs.
    Stopped,
    /// QEMU is being started.
    Starting,
    /// The guest runs.
    Running,
    /// Paused by an operator.
    Paused,
    /// Paused because a disk answered with an error (full, unreachable).
    IoError,
    /// The guest was asked to power off.
    Stopping,
    /// The guest runs and its memory is being sent to another host.
    Migrating,
    /// This host receives the VM; it does not run here yet.
    Incoming,
    /// Paused, and nobody may run it until a claim can be read or won; ends by itself.
    Held,
}

impl VmState {
    /// Whether a QEMU process exists in this state.
    #[must_use]
    pub fn has_process(self) -> bool {
        self != Self::Stopped
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::IoError => "io-error",
            Self::Stopping => "stopping",
            Self::Migrating => "migrating",
            Self::Incoming => "incoming",
            Self::Held => "held",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A definition that passes every check.
    fn sound() -> VmDefinition {
        VmDefinition {
            id: VmId::random(),
            name: "db1".into(),
            hardware: HARDWARE_VERSION,
            machine: DEFAULT_MACHINE.into(),
            cpu_model: DEFAULT_CPU_MODEL.into(),
            memory: Bytes::mib(512),
            vcpus: 1,
            datastore: "SAN1".into(),
            disks: vec![Disk {
                datastore: "SAN2".into(),
                path: "vms/x/disk0.qcow2".into(),
                format: DiskFormat::Qcow2,
                size: Bytes::gib(10),
            }],
            media: vec![],
            nics: vec![Nic {
                network: "production".into(),
                mac: "52:54:00:00:00:01".into(),
            }],
            boot: Boot::Disk,
            address: None,
            template: None,
            application: None,
            notes: String::new(),
        }
    }

    #[test]
    fn a_sound_definition_passes_and_names_its_datastores() {
        assert_eq!(sound().check(), Ok(()));
        assert_eq!(
            sound().datastores().into_iter().collect::<Vec<_>>(),
            ["SAN1", "SAN2"]
        );
    }

    #[test]
    fn what_could_do_harm_is_refused() {
        type Spoil = fn(&mut VmDefinition);
        let cases: [Spoil; 9] = [
            |vm| vm.name = "../x".into(),
            |vm| vm.hardware = 2,
            |vm| vm.machine = "pc,accel=kvm".into(),
            |vm| vm.memory = Bytes(1),
            |vm| vm.vcpus = 0,
            |vm| vm.disks[0].path = "../../etc/shadow".into(),
            |vm| vm.disks[0].path = "/etc/shadow".into(),
            |vm| vm.nics[0].mac = "53:54:00:00:00:01".into(),
            |vm| vm.nics = vec![vm.nics[0].clone(); 9],
        ];
        for (index, spoil) in cases.iter().enumerate() {
            let mut vm = sound();
            spoil(&mut vm);
            assert!(vm.check().is_err(), "case {index}");
        }
    }
}
