//! VMs outside the farm: stock QEMU with the farm's hardware contract, driven as a careful script would.
//!
//! ```text
//! overlay + seed ─► tap, QEMU in blade1 ─► cont ─► … ─► tap, QEMU -incoming in blade2 ─► migrate ─► cont, quit
//! ```
//! A [`BareVm`] owns its processes, taps and files; all are gone when it is dropped. [`engine`] says what is switched
//! on for which engine, [`moving`] moves.

pub mod engine;
pub mod moving;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use godwit_lab::plan::SWITCH;
use godwit_model::seed::{Seed, StaticAddress};
use godwit_model::vm::{DEFAULT_CPU_MODEL, DEFAULT_MACHINE, DiskFormat};
use godwit_net::tap;
use godwit_qemu::accel::{Accelerator, probe_kvm};
use godwit_qemu::binary::Qemu as Installed;
use godwit_qemu::hardware::{
    Boot, DiskDevice, Display, MachineConfig, MediumDevice, MediumKind, NicDevice, TemplateFile,
};
use godwit_qemu::monitor::Monitor;
use uuid::Uuid;

use crate::blade::{self, Process};
use crate::error::BenchError;
use crate::lab::Lab;
use crate::options::Identity;
use crate::plan::Side;

/// A QEMU that was just started may take this long to greet.
const STARTS: Duration = Duration::from_secs(60);
/// Where sockets and logs are: the same in all blades, and short, since addresses of sockets are.
const RUN: &str = "/run/godwit-bench";
/// Folder of the VMs' files on the datastore.
const HOME: &str = "bench";
/// Taps belong to this and a VM's id.
const OWNER: &str = "bench-";

/// What bare VMs are started with.
#[derive(Debug, Clone)]
pub struct Host {
    qemu: Installed,
    accelerator: Accelerator,
}

impl Host {
    /// Looks at this machine.
    ///
    /// # Errors
    /// QEMU is not installed.
    pub fn find() -> Result<Self, BenchError> {
        Ok(Self {
            qemu: Installed::find()?,
            accelerator: probe_kvm().accelerator(),
        })
    }

    /// QEMU's version.
    #[must_use]
    pub fn version(&self) -> String {
        self.qemu.version.to_string()
    }

    /// Who executes the guests' code.
    #[must_use]
    pub fn accelerator(&self) -> String {
        format!("{:?}", self.accelerator).to_lowercase()
    }
}

/// One QEMU process.
#[derive(Debug)]
struct Qemu {
    process: Process,
    monitor: Monitor,
}

/// A VM outside the farm.
#[derive(Debug)]
pub struct BareVm<'a> {
    lab: &'a Lab,
    host: &'a Host,
    /// Who it is.
    pub identity: Identity,
    id: Uuid,
    mac: String,
    /// Where it is.
    pub side: Side,
    qemu: Qemu,
    /// Taken away after the process.
    _files: Files<'a>,
    /// Moves so far: each has a folder and a port of its own.
    moves: u16,
}

impl<'a> BareVm<'a> {
    /// Makes it and lets it boot on side A.
    ///
    /// # Errors
    /// Its files cannot be made, or QEMU does not start.
    pub async fn boot(
        lab: &'a Lab,
        host: &'a Host,
        identity: Identity,
    ) -> Result<Self, BenchError> {
        let id = Uuid::new_v4();
        let [a, b, c, ..] = *id.as_bytes();
        let mac = format!("52:54:00:{a:02x}:{b:02x}:{c:02x}");
        let files = Files::make(lab, id, &identity, &mac).await?;
        let plan = Start {
            lab,
            host,
            identity: &identity,
            id,
            mac: &mac,
        };
        let qemu = plan.start(Side::A, 0, false).await?;
        qemu.monitor
            .cont()
            .await
            .map_err(BenchError::qmp("starting the guest"))?;
        Ok(Self {
            lab,
            host,
            identity,
            id,
            mac,
            side: Side::A,
            qemu,
            _files: files,
            moves: 0,
        })
    }

    fn start(&self) -> Start<'_> {
        Start {
            lab: self.lab,
            host: self.host,
            identity: &self.identity,
            id: self.id,
            mac: &self.mac,
        }
    }
}

/// What a QEMU of a VM is started with.
struct Start<'a> {
    lab: &'a Lab,
    host: &'a Host,
    identity: &'a Identity,
    id: Uuid,
    mac: &'a str,
}

impl Start<'_> {
    /// Starts a paused QEMU, or one that waits for a stream.
    async fn start(&self, side: Side, number: u16, incoming: bool) -> Result<Qemu, BenchError> {
        let nic = nic(self.id);
        let tap = tap::ensure(&self.lab.netns(side), &nic, SWITCH)?;
        let dir = run_dir(self.id).join(number.to_string());
        fs::create_dir_all(&dir).map_err(BenchError::file("make the folder", &dir))?;
        let machine = self.machine(&dir, tap, incoming);
        let mut command = Command::new(&self.host.qemu.system);
        command.args(machine.command_line()?);
        let log = dir.join("qemu.log");
        let process = blade::spawn(self.lab, side, command, &log)?;
        let connected = Monitor::connect(&machine.qmp_socket, STARTS).await;
        let monitor = connected.map_err(|source| {
            let words = fs::read_to_string(&log).unwrap_or_default();
            let what = format!("starting QEMU ({})", words.trim());
            BenchError::Qmp { what, source }
        })?;
        Ok(Qemu { process, monitor })
    }

    /// The farm's hardware, with the bench's paths.
    fn machine(&self, dir: &Path, tap: String, incoming: bool) -> MachineConfig {
        let template = &self.lab.template;
        MachineConfig {
            name: self.identity.name.clone(),
            uuid: self.id,
            memory: template.memory,
            vcpus: template.vcpus,
            cpu_model: DEFAULT_CPU_MODEL.into(),
            machine_type: DEFAULT_MACHINE.into(),
            accelerator: self.host.accelerator,
            disks: vec![DiskDevice {
                path: self.lab.in_blade(&disk_path(self.id)),
                format: DiskFormat::Qcow2,
                readonly: false,
                serial: None,
                template: Some(TemplateFile {
                    path: self.lab.template_disk(),
                    format: DiskFormat::Qcow2,
                }),
            }],
            media: vec![MediumDevice {
                path: self.lab.in_blade(&seed_path(self.id)),
                kind: MediumKind::Seed,
            }],
            nics: vec![NicDevice {
                tap,
                mac: self.mac.to_owned(),
            }],
            display: Display::Vnc(dir.join("vnc")),
            boot: Boot::Disk,
            serial_socket: dir.join("serial"),
            serial_log: Some(dir.join("serial.log")),
            qmp_socket: dir.join("qmp"),
            incoming,
        }
    }
}

/// What a VM leaves on disk and in the network, taken away with it.
#[derive(Debug)]
struct Files<'a> {
    lab: &'a Lab,
    id: Uuid,
}

impl<'a> Files<'a> {
    async fn make(
        lab: &'a Lab,
        id: Uuid,
        identity: &Identity,
        mac: &str,
    ) -> Result<Self, BenchError> {
        let files = Self { lab, id };
        let dir = lab.on_machine(&home(id));
        fs::create_dir_all(&dir).map_err(BenchError::file("make the folder", &dir))?;
        let seed = Seed {
            instance_id: id.to_string(),
            hostname: identity.name.clone(),
            addresses: vec![StaticAddress {
                address: identity.address,
                prefix: godwit_lab::spec::Subnet::PREFIX,
            }],
            gateway: Some(lab.gateway()),
            dns: vec![lab.gateway()],
            mac: Some(mac.to_owned()),
        };
        let path = lab.on_machine(&seed_path(id));
        fs::write(&path, seed.image()).map_err(BenchError::file("write", &path))?;
        let words = |path: PathBuf| path.display().to_string();
        let overlay = lab.in_blade(&disk_path(id));
        // In the blade, since the path of the template inside the overlay is the blade's.
        let argv = [
            "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        ];
        let mut argv = argv.map(str::to_owned).to_vec();
        argv.extend([words(lab.template_disk()), words(overlay)]);
        lab.run_in(Side::A, argv).await?;
        Ok(files)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        // All is tried; what is left is named by its id and harms nobody.
        for side in [Side::A, Side::B] {
            let _ = tap::remove(&self.lab.netns(side), &nic(self.id));
        }
        let _ = fs::remove_dir_all(self.lab.on_machine(&home(self.id)));
        let _ = fs::remove_dir(self.lab.on_machine(HOME));
        let _ = fs::remove_dir_all(run_dir(self.id));
        let _ = fs::remove_dir(RUN);
    }
}

/// Takes away what a bench that was killed has left. Its QEMUs ended with it.
///
/// # Errors
/// A tap cannot be removed.
pub fn sweep(lab: &Lab) -> Result<(), BenchError> {
    for side in [Side::A, Side::B] {
        tap::remove_stale(&lab.netns(side), |vm| !vm.starts_with(OWNER))?;
    }
    // Best effort: what is left is named by an id that nobody uses again.
    let _ = fs::remove_dir_all(lab.on_machine(HOME));
    for entry in fs::read_dir(RUN).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn nic(id: Uuid) -> tap::Nic {
    tap::Nic::new(format!("{OWNER}{id}"), 0)
}

/// Begins with the bench's process number, which tells [`sweep`] whether anybody uses it.
fn run_dir(id: Uuid) -> PathBuf {
    Path::new(RUN).join(format!("{}-{}", std::process::id(), id.simple()))
}

fn home(id: Uuid) -> String {
    format!("{HOME}/{id}")
}

fn disk_path(id: Uuid) -> String {
    format!("{}/disk0.qcow2", home(id))
}

fn seed_path(id: Uuid) -> String {
    format!("{}/seed.iso", home(id))
}
