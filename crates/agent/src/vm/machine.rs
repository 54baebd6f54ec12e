//! A VM's definition on this host, as the configuration of one QEMU process: names become
//! paths, taps and sockets.

use crate::answer::{Answer, internal};
use crate::config::AgentConfig;
use crate::host::datastore;
use godwit_api::agent::VmSockets;
use godwit_model::ids::VmId;
use godwit_model::vm::{Boot, Disk, DiskFormat, Medium, VmDefinition};
use godwit_qemu::accel::Accelerator;
use godwit_qemu::hardware::{
    self, DiskDevice, Display, MachineConfig, MediumDevice, MediumKind, NicDevice, TemplateFile,
};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of the seed among a VM's media: it is shown to the guest as a plain disk. Every
/// other medium is a CD-ROM. Both ends of a migration follow this rule.
pub const SEED_FILE: &str = "seed.iso";

/// Where a VM's sockets and logs lie on this host: short, since socket addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    dir: PathBuf,
}

impl RunFiles {
    /// Those of a VM; nothing is touched.
    #[must_use]
    pub fn new(run_dir: &Path, vm: VmId) -> Self {
        Self {
            dir: run_dir.join("vm").join(vm.to_string()),
        }
    }

    /// Makes the folder anew, without leftovers of a former process.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn prepare(&self) -> std::io::Result<()> {
        self.remove();
        std::fs::create_dir_all(&self.dir)
    }

    /// Removes the folder; undoes [`Self::prepare`].
    pub fn remove(&self) {
        // Best effort: it is made anew before it is used again.
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    /// QEMU's monitor.
    #[must_use]
    pub fn qmp(&self) -> PathBuf {
        self.dir.join("qmp")
    }

    /// Where QEMU listens for an incoming stream.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    /// Where the source's relay listens for QEMU.
    #[must_use]
    pub fn outgoing(&self) -> PathBuf {
        self.dir.join("outgoing")
    }

    /// What QEMU says.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }

    /// What the guest writes to its serial console.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.dir.join("serial.log")
    }

    /// For people.
    #[must_use]
    pub fn sockets(&self) -> VmSockets {
        VmSockets {
            serial: Some(self.dir.join("serial")),
            vnc: Some(self.dir.join("vnc")),
        }
    }

    /// The end of QEMU's own log, for messages about a QEMU that did not come up.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

/// The configuration of a VM's QEMU. Reads the heads of its disks' images; blocks.
///
/// # Errors
/// If this host lacks a datastore, or an image cannot be read.
pub fn machine(
    config: &AgentConfig,
    accelerator: Accelerator,
    definition: &VmDefinition,
    nics: Vec<NicDevice>,
    incoming: bool,
) -> Answer<MachineConfig> {
    let files = RunFiles::new(&config.run_dir, definition.id);
    let disks = definition.disks.iter().map(|each| disk(config, each));
    let media = definition.media.iter().map(|each| medium(config, each));
    Ok(MachineConfig {
        name: definition.name.clone(),
        uuid: definition.id.0,
        memory: definition.memory,
        vcpus: definition.vcpus,
        cpu_model: definition.cpu_model.clone(),
        machine_type: definition.machine.clone(),
        accelerator,
        disks: disks.collect::<Answer<_>>()?,
        media: media.collect::<Answer<_>>()?,
        nics,
        display: Display::Vnc(files.dir.join("vnc")),
        boot: boot(config, &definition.boot)?,
        serial_socket: files.dir.join("serial"),
        serial_log: Some(files.serial_log()),
        qmp_socket: files.qmp(),
        incoming,
    })
}

fn disk(config: &AgentConfig, disk: &Disk) -> Answer<DiskDevice> {
    let path = datastore::file(config, &disk.datastore, &disk.path)?;
    let template = match disk.format {
        DiskFormat::Qcow2 => template_of(config, &path)?,
        DiskFormat::Raw => None,
    };
    Ok(DiskDevice {
        path,
        format: disk.format,
        readonly: false,
        serial: None,
        template,
    })
}

/// The template under an overlay, if it is one: only files in a datastore's `templates` folder
/// never change, so only those may go through the page cache.
pub fn template_of(config: &AgentConfig, overlay: &Path) -> Answer<Option<TemplateFile>> {
    let mut head = Vec::new();
    std::fs::File::open(overlay)
        .and_then(|file| file.take(64 << 10).read_to_end(&mut head))
        .map_err(|error| internal(format!("cannot read disk {}: {error}", overlay.display())))?;
    let Some(path) = backing_file(&head) else {
        return Ok(None);
    };
    let is_template = config
        .datastores
        .iter()
        .any(|datastore| path.starts_with(datastore.path.join("templates")));
    Ok(is_template.then_some(TemplateFile {
        path,
        format: DiskFormat::Qcow2,
    }))
}

/// The backing file named in a qcow2 image's header (docs/interop/qcow2.txt in QEMU's sources:
/// magic, version, u64 offset at byte 8, u32 length at byte 16, big-endian).
fn backing_file(head: &[u8]) -> Option<PathBuf> {
    if !head.starts_with(b"QFI\xfb") {
        return None;
    }
    let offset = u64::from_be_bytes(head.get(8..16)?.try_into().ok()?);
    let length = u32::from_be_bytes(head.get(16..20)?.try_into().ok()?);
    let start = usize::try_from(offset).ok().filter(|start| *start > 0)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let name = std::str::from_utf8(head.get(start..end)?).ok()?;
    Some(PathBuf::from(name))
}

fn medium(config: &AgentConfig, medium: &Medium) -> Answer<MediumDevice> {
    let path = datastore::file(config, &medium.datastore, &medium.path)?;
    let is_seed = path.file_name().is_some_and(|name| name == SEED_FILE);
    let kind = if is_seed {
        MediumKind::Seed
    } else {
        MediumKind::Cdrom
    };
    Ok(MediumDevice { path, kind })
}

fn boot(config: &AgentConfig, boot: &Boot) -> Answer<hardware::Boot> {
    Ok(match boot {
        Boot::Disk => hardware::Boot::Disk,
        Boot::Cdrom => hardware::Boot::Cdrom,
        Boot::Kernel {
            datastore,
            kernel,
            initrd,
            append,
        } => hardware::Boot::Kernel {
            kernel: datastore::file(config, datastore, kernel)?,
            initrd: match initrd.as_str() {
                "" => None,
                path => Some(datastore::file(config, datastore, path)?),
            },
            append: append.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backing_file_is_read_from_the_header() {
        let name = b"/datastores/SAN1/templates/t/disk.qcow2";
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[8..16].copy_from_slice(&400_u64.to_be_bytes());
        head[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
        head[400..400 + name.len()].copy_from_slice(name);
        assert_eq!(
            backing_file(&head).unwrap().as_os_str().as_encoded_bytes(),
            name
        );
        head[8..16].fill(0xff);
        assert_eq!(backing_file(&head), None, "an offset outside is no file");
        head[8..16].fill(0);
        assert_eq!(backing_file(&head), None, "no backing file");
        assert_eq!(backing_file(b"raw"), None);
    }
}
