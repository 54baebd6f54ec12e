//! The virtual-hardware contract, version 1: what a guest sees, as QEMU arguments.
//!
//! A migration needs both ends equal to the letter, so everything that the guest can see is
//! fixed here: device models, their PCI addresses, the memory block's name, the machine type by
//! version. A golden test holds the list; changing what the guest sees means a new version
//! beside this one. What only the host sees (paths, tap names, accelerator, translation buffer,
//! caching of an immutable template) may differ between the two ends.
//!
//! PCI addresses, bus 0: 0x02 display, 0x03 entropy, 0x04-0x05 seeds, 0x08-0x0f disks,
//! 0x18-0x1f network cards. CD-ROMs sit on the IDE controller that the machine has anyway.

mod args;
mod nodes;

use crate::accel::Accelerator;
use godwit_model::{units::Bytes, vm::DiskFormat};
use std::path::PathBuf;
use uuid::Uuid;

/// Everything that one QEMU process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// The VM's name; shown in process lists.
    pub name: String,
    /// The VM's id: QEMU refuses a migration stream of another one.
    pub uuid: Uuid,
    /// Memory, in whole MiB.
    pub memory: Bytes,
    /// Number of vCPUs: one socket with that many cores.
    pub vcpus: u32,
    /// QEMU CPU model, the farm's baseline. QEMU does not start if the host lacks a feature of it.
    pub cpu_model: String,
    /// Machine type, by version.
    pub machine_type: String,
    /// Who executes the guest's code. Guests move between hosts of the same accelerator only.
    pub accelerator: Accelerator,
    /// Disks, in the order of their addresses; at most [`MAX_DISKS`].
    pub disks: Vec<DiskDevice>,
    /// Read-only images; at most [`MAX_MEDIA`].
    pub media: Vec<MediumDevice>,
    /// Network cards, in the order of their addresses; at most [`MAX_NICS`].
    pub nics: Vec<NicDevice>,
    /// The screen.
    pub display: Display,
    /// Where the guest boots from.
    pub boot: Boot,
    /// Unix socket of the serial console; QEMU creates it.
    pub serial_socket: PathBuf,
    /// File that keeps what the guest wrote to its serial console; appended to.
    pub serial_log: Option<PathBuf>,
    /// Unix socket of QMP; QEMU creates it.
    pub qmp_socket: PathBuf,
    /// Whether QEMU waits for a migration stream (`-incoming defer`).
    pub incoming: bool,
}

/// Disks at most.
pub const MAX_DISKS: usize = 8;
/// Media at most.
pub const MAX_MEDIA: usize = 2;
/// Network cards at most.
pub const MAX_NICS: usize = 8;

/// A disk: virtio-blk, host cache bypassed, image locked, guest stopped on errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDevice {
    /// Absolute path of the image.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Whether the guest may only read it.
    pub readonly: bool,
    /// Serial number that the guest sees; at most 20 characters.
    pub serial: Option<String>,
    /// The immutable template under a linked clone. Given, it is read through the host's page
    /// cache, so that sibling clones share it; without it QEMU follows the image's own header
    /// and bypasses the cache there too. Never give a file that anybody still writes.
    pub template: Option<TemplateFile>,
}

/// The immutable file under a linked clone's overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// A read-only image and how the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediumDevice {
    /// Absolute path of the (raw) image.
    pub path: PathBuf,
    /// What it looks like to the guest.
    pub kind: MediumKind,
}

/// What a medium looks like to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediumKind {
    /// A read-only virtio disk: any guest with virtio drivers finds it, without a CD driver.
    Seed,
    /// An IDE CD-ROM: what installers and firmware expect.
    Cdrom,
}

/// A virtio network card on a tap device that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicDevice {
    /// Name of the tap device.
    pub tap: String,
    /// MAC address, `52:54:00:…`.
    pub mac: String,
}

/// The screen. It is hardware that the guest sees: equal at both ends of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Display {
    /// No VGA card at all.
    None,
    /// A standard VGA card with 8 MiB, shown over VNC on this unix socket. In a migration its
    /// untouched memory costs 2048 zero pages of 9 bytes, once; without a viewer it costs no CPU
    /// that can be measured.
    Vnc(PathBuf),
}

/// Where the guest boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// The first disk.
    Disk,
    /// The first CD-ROM, then the first disk.
    Cdrom,
    /// A kernel given to the guest directly: no boot loader, some seconds quicker under TCG.
    /// The files must be the same at both ends of a migration and must stay.
    Kernel {
        /// Absolute path of the kernel.
        kernel: PathBuf,
        /// Absolute path of the initial RAM disk.
        initrd: Option<PathBuf>,
        /// Kernel command line.
        append: String,
    },
}

/// Why a configuration cannot become a command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HardwareError {
    /// Unix socket addresses hold 107 bytes.
    #[error(
        "socket path {} is longer than the 107 bytes that unix sockets allow: use a shorter run directory",
        .0.display()
    )]
    SocketPathTooLong(PathBuf),
    /// QEMU's JSON options are UTF-8.
    #[error("path {} is not valid UTF-8: rename it", .0.display())]
    NotUtf8(PathBuf),
    /// More devices than the contract has addresses for.
    #[error("{count} {what} given, the hardware contract has addresses for {max}: use fewer")]
    TooMany {
        /// Which devices.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// How many there can be.
        max: usize,
    },
    /// A value with a character that could become another option.
    #[error(
        "{what} {value:?} has a character that is not allowed there: use letters, digits, '-', '_', '.' and ':'"
    )]
    BadValue {
        /// Which field.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// Memory that is not whole MiB, or none.
    #[error("memory of {0} cannot be given to a guest: use whole MiB, at least 16")]
    BadMemory(Bytes),
    /// No vCPU.
    #[error("a VM needs at least one vCPU")]
    NoVcpu,
    /// Booting from a CD-ROM that is not there.
    #[error("the VM is to boot from a CD-ROM but has none: attach an ISO image")]
    NoCdrom,
}
