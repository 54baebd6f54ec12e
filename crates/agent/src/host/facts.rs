//! What this host is and offers.

use super::{Host, datastore};
use crate::config::{AcceleratorChoice, AgentConfig};
use godwit_model::host::{HostFacts, PROTOCOL_VERSION};
use godwit_model::units::Bytes;
use godwit_qemu::accel::{Accelerator, probe_kvm};
use godwit_qemu::binary::{BinaryError, Qemu};
use godwit_qemu::cpu::{CpuError, Offer};

/// What was found at start-up and does not change.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The QEMU programs.
    pub qemu: Qemu,
    /// Who executes guests.
    pub accelerator: Accelerator,
    /// Machine types on offer, of those Godwit uses.
    pub machines: Vec<String>,
    /// CPU models on offer.
    pub cpu_models: Vec<String>,
    /// Cores of this host's share.
    pub cores: u32,
    /// Memory of the machine.
    pub memory: Bytes,
}

/// Why this host cannot run VMs.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// There is no usable QEMU.
    #[error(transparent)]
    Qemu(#[from] BinaryError),
    /// QEMU does not tell its CPU models.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The probe died.
    #[error("the look at this host's QEMU failed: run `godwit doctor`")]
    Probe(#[from] tokio::task::JoinError),
}

impl Hardware {
    /// Looks, for a second or two.
    ///
    /// # Errors
    /// If there is no usable QEMU.
    pub async fn find(config: &AgentConfig) -> Result<Self, HardwareError> {
        let choice = config.accelerator;
        let (qemu, accelerator, machines) =
            tokio::task::spawn_blocking(move || programs(choice)).await??;
        let offer = Offer::of_this_host(&qemu, accelerator).await?;
        Ok(Self {
            machines,
            cpu_models: offer.models().map(str::to_owned).collect(),
            accelerator,
            cores: cores(config),
            memory: memory("MemTotal:"),
            qemu,
        })
    }
}

fn programs(choice: AcceleratorChoice) -> Result<(Qemu, Accelerator, Vec<String>), BinaryError> {
    let qemu = Qemu::find()?;
    let accelerator = match choice {
        AcceleratorChoice::Auto => probe_kvm().accelerator(),
        AcceleratorChoice::Kvm => Accelerator::Kvm,
        AcceleratorChoice::Tcg => Accelerator::Tcg,
    };
    let mut machines = qemu.machine_types()?;
    machines.retain(|name| name.starts_with("pc-i440fx-"));
    Ok((qemu, accelerator, machines))
}

fn cores(config: &AgentConfig) -> u32 {
    let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = config.cores.as_ref().map_or_else(all, Vec::len);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A line of `/proc/meminfo`.
pub(crate) fn memory(key: &str) -> Bytes {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Bytes(kib.unwrap_or(0) * 1024)
}

/// The host's facts, with a fresh look at its datastores.
pub async fn facts(host: &Host) -> HostFacts {
    let config = &host.config;
    let hardware = &host.hardware;
    let looks = config.datastores.iter().map(datastore::facts);
    let version = hardware.qemu.version;
    HostFacts {
        id: config.id.clone(),
        godwit_version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        boot_id: boot_id(),
        cores: hardware.cores,
        memory: hardware.memory,
        qemu_version: format!("{}.{}.{}", version.major, version.minor, version.micro),
        accelerator: hardware.accelerator.to_string(),
        cpu_models: hardware.cpu_models.clone(),
        machines: hardware.machines.clone(),
        datastores: futures::future::join_all(looks).await,
        networks: config
            .switches
            .iter()
            .map(|switch| switch.name.clone())
            .collect(),
        cards: config
            .cards
            .iter()
            .map(crate::config::CardConfig::facts)
            .collect(),
        migration_address: config.migration_address,
    }
}

/// The kernel's boot id: hosts with the same one share a clock. (The lease's own boot id tells
/// more: it differs between two lives of a container.)
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
