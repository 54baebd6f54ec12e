//! [`MachineConfig`] to QEMU's argument list. The order is fixed, too: a diff of two command
//! lines then shows what differs and nothing else.

use super::nodes::{CACHED, Cache, DIRECT, FileNode, FormatNode};
use super::{
    Boot, DiskDevice, Display, HardwareError, MAX_DISKS, MAX_MEDIA, MAX_NICS, MachineConfig,
    MediumDevice, MediumKind, NicDevice, TemplateFile,
};
use crate::accel::Accelerator;
use godwit_model::{units::Bytes, vm::DiskFormat};
use serde::Serialize;
use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::Path};

const ADDR_DISPLAY: usize = 0x02;
const ADDR_ENTROPY: usize = 0x03;
const ADDR_SEEDS: usize = 0x04;
const ADDR_DISKS: usize = 0x08;
const ADDR_NICS: usize = 0x18;

/// Bound of TCG's translated code; QEMU's own default is 1 GiB for each process, which twenty VMs
/// on one host would really fill. Measured with a Debian and PostgreSQL guest: booting to the
/// first query translates 103 MB in all. With 128, 64 and 32 MiB it took 11.8, 11.7 and 12.4 s of
/// CPU (0, 1 and 6 flushes), then 23, 23 and 29 ms per paced transaction, with 135, 93 and 58 MB
/// of QEMU's own memory resident.
const TCG_BUFFER_MIB: u32 = 64;

/// `sun_path` has 108 bytes, one is the final zero.
const MAX_SOCKET_PATH: usize = 107;

impl MachineConfig {
    /// The arguments for `qemu-system-x86_64`, without the program itself. QEMU starts paused:
    /// whoever holds the lease continues it.
    ///
    /// # Errors
    /// If a value does not fit the contract; nothing of the host is looked at.
    pub fn command_line(&self) -> Result<Vec<OsString>, HardwareError> {
        self.check()?;
        let mut args = Args::default();
        self.process(&mut args);
        self.board(&mut args);
        self.consoles(&mut args)?;
        self.storage(&mut args)?;
        for (index, nic) in self.nics.iter().enumerate() {
            network(&mut args, index, nic);
        }
        self.boot(&mut args)?;
        if self.incoming {
            args.pair("-incoming", "defer");
        }
        Ok(args.0)
    }

    fn check(&self) -> Result<(), HardwareError> {
        limit("disks", self.disks.len(), MAX_DISKS)?;
        limit("media", self.media.len(), MAX_MEDIA)?;
        limit("network cards", self.nics.len(), MAX_NICS)?;
        word("VM name", &self.name)?;
        word("CPU model", &self.cpu_model)?;
        word("machine type", &self.machine_type)?;
        for nic in &self.nics {
            word("tap name", &nic.tap)?;
            word("MAC address", &nic.mac)?;
        }
        for serial in self.disks.iter().filter_map(|disk| disk.serial.as_ref()) {
            word("disk serial", serial)?;
        }
        if self.memory < Bytes::mib(16) || !self.memory.0.is_multiple_of(1 << 20) {
            return Err(HardwareError::BadMemory(self.memory));
        }
        if self.vcpus == 0 {
            return Err(HardwareError::NoVcpu);
        }
        let cdrom = |medium: &MediumDevice| medium.kind == MediumKind::Cdrom;
        if self.boot == Boot::Cdrom && !self.media.iter().any(cdrom) {
            return Err(HardwareError::NoCdrom);
        }
        Ok(())
    }

    /// The process itself: nothing of it is visible to the guest.
    fn process(&self, args: &mut Args) {
        // Thread names tell vCPU time from the rest (see `usage`).
        args.pair("-name", format!("guest={},debug-threads=on", self.name));
        args.flag("-S");
        args.flag("-nodefaults");
        args.flag("-no-user-config");
        args.pair("-msg", "timestamp=on");
        // A QEMU that a guest broke out of cannot start programs or change its identity.
        args.pair(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        // A reboot is a reset of the same process. A power-off ends it, after a SHUTDOWN event
        // with guest=true: a process that is gone holds no memory and no image locks.
        args.pair("-action", "reboot=reset,shutdown=poweroff,panic=shutdown");
    }

    fn board(&self, args: &mut Args) {
        let size = self.memory.as_mib();
        let accel = match self.accelerator {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg => format!("tcg,thread=multi,tb-size={TCG_BUFFER_MIB}"),
        };
        args.pair("-accel", accel);
        args.pair(
            "-machine",
            format!(
                "{},memory-backend=pc.ram,hpet=off,vmport=off,usb=off,dump-guest-core=off",
                self.machine_type
            ),
        );
        args.pair("-uuid", self.uuid.to_string());
        args.pair("-cpu", format!("{},enforce", self.cpu_model));
        let cpus = self.vcpus;
        args.pair(
            "-smp",
            format!("cpus={cpus},sockets=1,dies=1,cores={cpus},threads=1,maxcpus={cpus}"),
        );
        args.pair("-m", format!("size={size}M"));
        args.pair(
            "-object",
            format!("memory-backend-memfd,id=pc.ram,size={size}M,share=on,prealloc=off"),
        );
        args.pair("-overcommit", "mem-lock=off");
        // The battery clock follows the host's (synchronized) clock, also after a move. It is read
        // at boot; the running guest's time goes on from the stream and stands still during the
        // blackout, so guests need time synchronization of their own.
        args.pair("-rtc", "base=utc,clock=host,driftfix=none");
        // Clones of one image must not share their random numbers.
        args.pair("-object", "rng-random,id=rng0,filename=/dev/urandom");
        args.device("virtio-rng-pci,rng=rng0,id=entropy0", ADDR_ENTROPY);
    }

    fn consoles(&self, args: &mut Args) -> Result<(), HardwareError> {
        let qmp = socket(&self.qmp_socket)?;
        args.pair(
            "-chardev",
            format!("socket,id=qmp0,path={qmp},server=on,wait=off"),
        );
        args.pair("-mon", "chardev=qmp0,mode=control");
        let serial = socket(&self.serial_socket)?;
        let log = match &self.serial_log {
            Some(path) => format!(",logfile={},logappend=on", escaped(path)?),
            None => String::new(),
        };
        args.pair(
            "-chardev",
            format!("socket,id=serial0,path={serial},server=on,wait=off{log}"),
        );
        args.pair("-device", "isa-serial,chardev=serial0,id=console0,index=0");
        match &self.display {
            Display::None => args.pair("-display", "none"),
            Display::Vnc(path) => {
                args.device("VGA,id=video0,vgamem_mb=8", ADDR_DISPLAY);
                args.pair("-vnc", format!("unix:{}", socket(path)?));
            }
        }
        Ok(())
    }

    fn storage(&self, args: &mut Args) -> Result<(), HardwareError> {
        for (index, device) in self.disks.iter().enumerate() {
            disk(args, index, device)?;
        }
        for (index, medium) in self.media.iter().enumerate() {
            self.medium(args, index, medium)?;
        }
        Ok(())
    }

    fn medium(
        &self,
        args: &mut Args,
        index: usize,
        medium: &MediumDevice,
    ) -> Result<(), HardwareError> {
        let node = format!("medium{index}");
        let file = format!("{node}-file");
        args.blockdev(&FileNode::immutable(&file, utf8(&medium.path)?));
        args.blockdev(&format_node("raw", &node, &file, CACHED));
        match medium.kind {
            MediumKind::Seed => args.device(
                &format!("virtio-blk-pci,id=seed{index},drive={node},werror=stop,rerror=stop"),
                ADDR_SEEDS + index,
            ),
            MediumKind::Cdrom => {
                let first = self.media.iter().position(|m| m.kind == MediumKind::Cdrom);
                let boot = if self.boot == Boot::Cdrom && first == Some(index) {
                    ",bootindex=0"
                } else {
                    ""
                };
                args.pair(
                    "-device",
                    format!("ide-cd,id=cdrom{index},bus=ide.{index},unit=0,drive={node}{boot}"),
                );
            }
        }
        Ok(())
    }

    fn boot(&self, args: &mut Args) -> Result<(), HardwareError> {
        args.pair("-boot", "menu=off,strict=on");
        let Boot::Kernel {
            kernel,
            initrd,
            append,
        } = &self.boot
        else {
            return Ok(());
        };
        args.pair("-kernel", utf8(kernel)?);
        if let Some(initrd) = initrd {
            args.pair("-initrd", utf8(initrd)?);
        }
        args.pair("-append", append.as_str());
        Ok(())
    }
}

fn disk(args: &mut Args, index: usize, disk: &DiskDevice) -> Result<(), HardwareError> {
    let node = format!("disk{index}");
    let file = format!("{node}-file");
    args.blockdev(&FileNode::disk(&file, utf8(&disk.path)?, disk.readonly));
    let backing = match (&disk.template, disk.format) {
        (Some(below), DiskFormat::Qcow2) => Some(template(args, &node, below)?),
        _ => None,
    };
    args.blockdev(&FormatNode {
        backing: backing.as_deref(),
        read_only: disk.readonly,
        discard: "unmap",
        ..format_node(disk.format.as_str(), &node, &file, DIRECT)
    });
    let serial = disk
        .serial
        .as_ref()
        .map(|s| format!(",serial={s}"))
        .unwrap_or_default();
    let boot = index + 1;
    args.device(
        &format!(
            "virtio-blk-pci,id=vd{index},drive={node}{serial},bootindex={boot},werror=stop,rerror=stop"
        ),
        ADDR_DISKS + index,
    );
    Ok(())
}

/// The nodes of an immutable template; returns the name of the upper one.
fn template(args: &mut Args, node: &str, below: &TemplateFile) -> Result<String, HardwareError> {
    let name = format!("{node}-template");
    let file = format!("{name}-file");
    args.blockdev(&FileNode::immutable(&file, utf8(&below.path)?));
    args.blockdev(&format_node(below.format.as_str(), &name, &file, CACHED));
    Ok(name)
}

fn format_node<'a>(
    driver: &'static str,
    node_name: &'a str,
    file: &'a str,
    cache: Cache,
) -> FormatNode<'a> {
    FormatNode {
        driver,
        node_name,
        file,
        backing: None,
        read_only: true,
        auto_read_only: false,
        discard: "ignore",
        cache,
    }
}

fn network(args: &mut Args, index: usize, nic: &NicDevice) {
    let NicDevice { tap, mac } = nic;
    // The features that vhost offers depend on the host's kernel, and the guest sees them: off.
    args.pair(
        "-netdev",
        format!("tap,id=net{index},ifname={tap},script=no,downscript=no,vhost=off"),
    );
    // No boot ROM: its size differs between QEMU packages, and a migration would fail.
    args.device(
        &format!("virtio-net-pci,id=nic{index},netdev=net{index},mac={mac},romfile="),
        ADDR_NICS + index,
    );
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.extend([name.into(), value.into()]);
    }

    fn device(&mut self, device: &str, addr: usize) {
        self.pair("-device", format!("{device},bus=pci.0,addr={addr:#04x}"));
    }

    fn blockdev(&mut self, node: &impl Serialize) {
        let json = serde_json::to_string(node).expect("plain structures always become JSON");
        self.pair("-blockdev", json);
    }
}

fn limit(what: &'static str, count: usize, max: usize) -> Result<(), HardwareError> {
    if count > max {
        return Err(HardwareError::TooMany { what, count, max });
    }
    Ok(())
}

fn word(what: &'static str, value: &str) -> Result<(), HardwareError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(HardwareError::BadValue {
            what,
            value: value.to_owned(),
        });
    }
    Ok(())
}

fn utf8(path: &Path) -> Result<&str, HardwareError> {
    path.to_str()
        .ok_or_else(|| HardwareError::NotUtf8(path.to_owned()))
}

/// A comma ends a value in QEMU's options unless it is doubled.
fn escaped(path: &Path) -> Result<String, HardwareError> {
    Ok(utf8(path)?.replace(',', ",,"))
}

fn socket(path: &Path) -> Result<String, HardwareError> {
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(HardwareError::SocketPathTooLong(path.to_owned()));
    }
    escaped(path)
}

#[cfg(test)]
#[path = "golden.rs"]
mod golden;
