//! `godwit image boot`: does an image boot, how long until it answers, what does it cost?
//!
//! The VM has the hardware contract's command line, a NoCloud seed and an overlay of the image,
//! and lives in a network namespace that no name leads to: it ends with this command, however
//! that ends.

use super::Failure;
use super::shown::Shown;
use godwit_dvdstore::Seed as StoreSeed;
use godwit_dvdstore::connect::{Link, parse_url};
use godwit_dvdstore::driver::{self, DriverConfig, Target};
use godwit_dvdstore::load::inspect;
use godwit_lab::image::Progress as _;
use godwit_model::seed::{Seed, StaticAddress};
use godwit_model::units::Bytes;
use godwit_model::vm::{DEFAULT_CPU_MODEL, DEFAULT_MACHINE, DiskFormat};
use godwit_net::netns::Netns;
use godwit_qemu::accel::probe_kvm;
use godwit_qemu::binary::Qemu;
use godwit_qemu::hardware::{
    Boot, DiskDevice, Display, MachineConfig, MediumDevice, MediumKind, NicDevice, TemplateFile,
};
use godwit_qemu::image::ImageTool;
use godwit_qemu::monitor::Monitor;
use godwit_qemu::usage::ProcessUsage;
use nix::sched::{CloneFlags, unshare};
use serde::Serialize;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const TAP: &str = "tap0";
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
const MAC: &str = "52:54:00:00:00:01";
/// What a guest does after its first answer (statistics, first write-back) is not its idle cost.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(15);

/// Which image, and what to measure.
#[derive(Debug, clap::Args)]
pub struct BootArgs {
    /// The image (qcow2), as `godwit image build` makes it
    image: PathBuf,
    /// Memory
    #[arg(long, default_value = "512M")]
    memory: Bytes,
    /// Seconds of orders, one after the other, to learn what one costs
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    orders: u64,
    /// Give up after so many seconds without an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    accelerator: String,
    /// From the start of QEMU to the first answered query.
    boot_seconds: f64,
    /// Processor time of it.
    boot_cpu_seconds: f64,
    /// Of one core, while nobody asks anything.
    idle_cpu_percent: f64,
    resident: Bytes,
    /// From the press of the power button to the end of QEMU.
    shutdown_seconds: f64,
    orders: Option<Orders>,
}

#[derive(Debug, Serialize)]
struct Orders {
    orders_per_minute: f64,
    cpu_ms_per_order: f64,
    median_ms: f64,
}

/// Boots, measures, prints.
pub(super) async fn run(args: BootArgs, json: bool) -> Result<(), Failure> {
    // The namespace belongs to a thread, so everything happens on that one.
    let measured = tokio::task::spawn_blocking(move || {
        let thread = std::thread::spawn(move || in_namespace(&args));
        thread
            .join()
            .unwrap_or_else(|_| Err("the measuring thread broke off".into()))
    });
    let measured = measured.await??;
    if json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        print(&measured);
    }
    Ok(())
}

fn print(measured: &Measured) {
    let Measured {
        accelerator,
        boot_seconds,
        boot_cpu_seconds,
        idle_cpu_percent,
        resident,
        shutdown_seconds,
        orders,
    } = measured;
    println!(
        "first answer after  {boot_seconds:.1} s ({accelerator}; {boot_cpu_seconds:.1} s of CPU)"
    );
    println!("idle                {idle_cpu_percent:.1} % of a core, {resident} resident");
    if let Some(orders) = orders {
        println!(
            "orders              {:.1} ms of CPU each, {:.0} a minute, median {:.0} ms",
            orders.cpu_ms_per_order, orders.orders_per_minute, orders.median_ms
        );
    }
    println!("power button        off after {shutdown_seconds:.1} s");
}

fn in_namespace(args: &BootArgs) -> Result<Measured, Failure> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("cannot make a network namespace ({error}): run as root"))?;
    for line in [
        format!("tuntap add {TAP} mode tap"),
        format!("address add {HOST}/24 dev {TAP}"),
        format!("link set {TAP} up"),
    ] {
        Netns::Here.ip(&line.split(' ').collect::<Vec<_>>())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            measured = measure(args) => measured,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })
}

async fn measure(args: &BootArgs) -> Result<Measured, Failure> {
    let shown = Shown::new();
    let folder = Scratch::new()?;
    let image = std::path::absolute(&args.image)?;
    let config = machine(args, &image, &folder.0).await?;
    shown.step("booting");
    let started = Instant::now();
    let vm = Vm::start(&config)?;
    let monitor = Monitor::connect(&config.qmp_socket, Duration::from_secs(30)).await?;
    monitor.cont().await?;
    first_answer(&vm, &shown, Duration::from_secs(args.patience), &config).await?;
    let boot_seconds = started.elapsed().as_secs_f64();
    let boot_cpu = vm.usage()?.total();

    shown.step("idling");
    wait(&shown, SETTLE).await;
    let before = vm.usage()?.total();
    wait(&shown, IDLE).await;
    let idle = vm.usage()?;
    let orders = match args.orders {
        0 => None,
        seconds => Some(order(&vm, &shown, Duration::from_secs(seconds)).await?),
    };

    shown.step("powering off");
    let pressed = Instant::now();
    monitor.system_powerdown().await?;
    timeout(Duration::from_secs(60), monitor.closed())
        .await
        .map_err(|_| "the guest did not power off within a minute of the power button")?;
    shown.end();
    Ok(Measured {
        accelerator: format!("{:?}", config.accelerator).to_lowercase(),
        boot_seconds,
        boot_cpu_seconds: boot_cpu.as_secs_f64(),
        idle_cpu_percent: (idle.total() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0,
        resident: idle.resident,
        shutdown_seconds: pressed.elapsed().as_secs_f64(),
        orders,
    })
}

async fn machine(args: &BootArgs, image: &Path, folder: &Path) -> Result<MachineConfig, Failure> {
    let overlay = folder.join("disk.qcow2");
    ImageTool::find()?
        .create_overlay(&overlay, image, DiskFormat::Qcow2, None)
        .await?;
    let seed = folder.join("seed.iso");
    std::fs::write(&seed, identity().image())?;
    let accelerator = tokio::task::spawn_blocking(probe_kvm).await?.accelerator();
    Ok(MachineConfig {
        name: "image-boot".into(),
        uuid: Uuid::new_v4(),
        memory: args.memory,
        vcpus: 1,
        cpu_model: DEFAULT_CPU_MODEL.into(),
        machine_type: DEFAULT_MACHINE.into(),
        accelerator,
        disks: vec![DiskDevice {
            path: overlay,
            format: DiskFormat::Qcow2,
            readonly: false,
            serial: None,
            template: Some(TemplateFile {
                path: image.to_owned(),
                format: DiskFormat::Qcow2,
            }),
        }],
        media: vec![MediumDevice {
            path: seed,
            kind: MediumKind::Seed,
        }],
        nics: vec![NicDevice {
            tap: TAP.into(),
            mac: MAC.into(),
        }],
        display: Display::None,
        boot: Boot::Disk,
        serial_socket: folder.join("serial"),
        serial_log: Some(folder.join("serial.log")),
        qmp_socket: folder.join("qmp"),
        incoming: false,
    })
}

fn identity() -> Seed {
    Seed {
        instance_id: Uuid::new_v4().to_string(),
        hostname: "image-boot".into(),
        addresses: vec![StaticAddress {
            address: GUEST,
            prefix: 24,
        }],
        gateway: Some(HOST),
        dns: vec![],
        mac: Some(MAC.into()),
    }
}

fn url() -> String {
    format!("host={GUEST} user=ds2 password=ds2 dbname=ds2")
}

/// Asks until there is an answer.
async fn first_answer(
    vm: &Vm,
    shown: &Shown,
    patience: Duration,
    config: &MachineConfig,
) -> Result<(), Failure> {
    let database = parse_url(&url())?;
    let began = Instant::now();
    while began.elapsed() < patience {
        vm.usage()
            .map_err(|_| "QEMU has ended: see what it said above")?;
        shown.tick();
        // A guest that boots drops packets: a try must not wait for what will not come.
        let Ok(Ok(link)) = timeout(Duration::from_secs(2), Link::for_tool(&database)).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        link.client().simple_query("SELECT 1").await?;
        link.close().await;
        return Ok(());
    }
    let said = config
        .serial_log
        .as_ref()
        .and_then(|log| std::fs::read(log).ok())
        .unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(format!(
        "no answer within {} s; the serial console said:\n{said}",
        patience.as_secs()
    )
    .into())
}

async fn order(vm: &Vm, shown: &Shown, time: Duration) -> Result<Orders, Failure> {
    shown.step("ordering");
    let size = inspect(&parse_url(&url())?).await?.size;
    let target = Target::new("guest", &url(), 0, size)?;
    let config = DriverConfig {
        warm_up: Duration::ZERO,
        run_time: Some(time),
        ..DriverConfig::classic(StoreSeed(1))
    };
    let before = vm.usage()?.total();
    let report = driver::start(vec![target], config, Arc::new(|_| {}))
        .finished()
        .await;
    let cpu = vm.usage()?.total() - before;
    let minutes = time.as_secs_f64() / 60.0;
    let orders = report.total.orders_per_minute * minutes;
    Ok(Orders {
        orders_per_minute: report.total.orders_per_minute,
        cpu_ms_per_order: cpu.as_secs_f64() * 1000.0 / orders.max(1.0),
        median_ms: report.total.response.p50_ms,
    })
}

async fn wait(shown: &Shown, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        shown.tick();
        sleep(Duration::from_millis(200).min(until - Instant::now())).await;
    }
}

/// A QEMU that ends with this value.
struct Vm(Child);

impl Vm {
    fn start(config: &MachineConfig) -> Result<Self, Failure> {
        // Should this process be killed, QEMU goes with it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(Qemu::find()?.system);
        command.args(config.command_line()?).stdin(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    fn usage(&self) -> std::io::Result<ProcessUsage> {
        ProcessUsage::of(self.0.id())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes away; not in /tmp, which may be memory, where disks cannot bypass caches.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = PathBuf::from(format!("/var/tmp/godwit-boot-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
