//! `godwit vm …`

use super::watch::repeat;
use crate::clones;
use crate::context::{CliError, CliResult, Context};
use crate::output::{self, or_dash};
use crate::progress::follow;
use godwit_api::agent::MigrationOptions;
use godwit_api::farm::client::FarmClient;
use godwit_api::farm::{ChangeVm, CloneVm, CreateVm, Customization, Migrate, Power, VmInfo};
use godwit_model::ids::HostId;
use godwit_model::migration::predict;
use godwit_model::task::Task;
use godwit_model::units::Bytes;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// VMs of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum VmCommand {
    /// List the VMs
    List {
        /// Print again each second
        #[arg(long, short)]
        watch: bool,
    },
    /// Show one VM
    Show {
        /// Name or id
        vm: String,
    },
    /// Make a VM with an empty or imported disk
    Create(CreateArgs),
    /// Clone a template: one VM by name, or many from a file of `hostname ip [datastore]`
    Clone(CloneArgs),
    /// Start VMs
    Start {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
    },
    /// Ask guests to power off; kill those that have not within the time
    Stop {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
        /// Seconds that a guest has
        #[arg(long, default_value_t = 60)]
        grace: u32,
    },
    /// End VMs at once, as if the power failed
    Kill {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
    },
    /// Stop the CPUs of VMs
    Pause {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
    },
    /// Let paused VMs run again
    Resume {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
    },
    /// Say what VMs are a part of: two VMs of one application are never moved at the same time
    Set {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
        /// The application; an empty name for none
        #[arg(long, value_name = "NAME")]
        application: String,
    },
    /// Move running VMs to another host, those first that will be quickest
    Migrate(MigrateArgs),
    /// Delete stopped VMs and their files
    Delete {
        /// Names or ids
        #[arg(required = true)]
        vms: Vec<String>,
    },
}

/// `godwit vm create`
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The VM's name
    name: String,
    /// The host (the manager chooses unless given)
    #[arg(long)]
    host: Option<HostId>,
    /// The datastore (the one with the most room unless given)
    #[arg(long)]
    datastore: Option<String>,
    /// Memory
    #[arg(long, default_value = "512M")]
    memory: Bytes,
    /// Virtual CPUs
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// Size of the disk
    #[arg(long, default_value = "10G")]
    disk: Bytes,
    /// Start from this disk image, a path on the host (qcow2, raw, vmdk)
    #[arg(long, value_name = "FILE")]
    import: Option<String>,
    /// Boot from this ISO first, a path inside the datastore
    #[arg(long, value_name = "PATH")]
    iso: Option<String>,
    /// Plug a card into this network; may be given again
    #[arg(long = "network")]
    networks: Vec<String>,
    /// Start it
    #[arg(long)]
    start: bool,
}

/// `godwit vm clone`
#[derive(Debug, clap::Args)]
pub struct CloneArgs {
    /// The template
    template: String,
    /// The clone's name and host name
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    name: Option<String>,
    /// Read clones from a file: `hostname ip [datastore]` on each line; they are started
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Its address with the prefix's length, such as 192.168.1.11/24 (DHCP unless given)
    #[arg(long, value_name = "ADDRESS/PREFIX", conflicts_with = "from", value_parser = address)]
    ip: Option<(Ipv4Addr, u8)>,
    /// Length of the network's prefix, for clones from a file
    #[arg(long, default_value_t = 24)]
    prefix: u8,
    /// Its gateway
    #[arg(long)]
    gateway: Option<Ipv4Addr>,
    /// A name server; may be given again
    #[arg(long)]
    dns: Vec<Ipv4Addr>,
    /// The host (the manager chooses unless given)
    #[arg(long)]
    host: Option<HostId>,
    /// The datastore (the template's unless given here or in the file)
    #[arg(long)]
    datastore: Option<String>,
    /// The network (the only one there is unless given)
    #[arg(long)]
    network: Option<String>,
    /// Memory (the template's unless given)
    #[arg(long)]
    memory: Option<Bytes>,
    /// Virtual CPUs (the template's unless given)
    #[arg(long)]
    vcpus: Option<u32>,
    /// Copy the whole disk instead of making an overlay
    #[arg(long)]
    full: bool,
    /// Start it (clones from a file are started always)
    #[arg(long)]
    start: bool,
}

/// `godwit vm migrate`
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Names or ids
    #[arg(required = true)]
    vms: Vec<String>,
    /// Where to
    #[arg(long)]
    to: HostId,
    /// The pause that QEMU may plan for its last round, in milliseconds
    #[arg(long, default_value_t = MigrationOptions::default().downtime_limit_ms)]
    downtime_limit: u32,
    /// The pause that it may plan at most, if the VM writes its memory too fast for a shorter one
    #[arg(long, default_value_t = MigrationOptions::default().downtime_most_ms)]
    downtime_most: u32,
    /// At most so many bytes per second, such as 50M
    #[arg(long)]
    max_bandwidth: Option<Bytes>,
    /// Seconds that memory may be sent before the migration is given up
    #[arg(long, default_value_t = MigrationOptions::default().precopy_limit_seconds)]
    precopy_limit: u32,
    /// Never slow the guest down, even if it writes memory faster than it can be sent
    #[arg(long)]
    no_auto_converge: bool,
}

/// What lists of VMs show.
const HEADER: [&str; 8] = [
    "name",
    "state",
    "host",
    "memory",
    "vcpus",
    "datastore",
    "address",
    "problem",
];

impl VmCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let farm = context.farm()?;
        match self {
            Self::List { watch } => {
                repeat(watch, async || {
                    output::list(context, &farm.vms().await?, &HEADER, row)
                })
                .await
            }
            Self::Show { vm } => {
                let info = farm.vm(&vm).await?;
                output::show(context, &info, &lines(&info))
            }
            Self::Create(args) => {
                let task = farm.create_vm(&args.request()).await?;
                follow(context, &farm, vec![task]).await
            }
            Self::Clone(args) => args.run(context, &farm).await,
            Self::Start { vms } => power(context, &farm, vms, &Power::On).await,
            Self::Stop { vms, grace } => {
                power(
                    context,
                    &farm,
                    vms,
                    &Power::Off {
                        grace_seconds: grace,
                    },
                )
                .await
            }
            Self::Kill { vms } => power(context, &farm, vms, &Power::Kill).await,
            Self::Pause { vms } => power(context, &farm, vms, &Power::Pause).await,
            Self::Resume { vms } => power(context, &farm, vms, &Power::Resume).await,
            Self::Set { vms, application } => {
                let request = ChangeVm {
                    application: Some(application),
                };
                let mut changed = Vec::new();
                for vm in &vms {
                    changed.push(farm.change_vm(vm, &request).await?);
                }
                output::list(context, &changed, &HEADER, row)
            }
            Self::Migrate(args) => args.run(context, &farm).await,
            Self::Delete { vms } => {
                each(context, &farm, vms, async |vm| farm.delete_vm(vm).await).await
            }
        }
    }
}

async fn power(context: &Context, farm: &FarmClient, vms: Vec<String>, how: &Power) -> CliResult {
    each(context, farm, vms, async |vm| farm.power(vm, how).await).await
}

/// Starts a task for each VM and follows them all. A refusal does not stop the others, but
/// the command fails.
async fn each(
    context: &Context,
    farm: &FarmClient,
    vms: Vec<String>,
    start: impl AsyncFn(&str) -> Result<Task, godwit_api::http::CallError>,
) -> CliResult {
    let (mut tasks, mut refused) = (Vec::new(), false);
    for vm in &vms {
        match start(vm).await {
            Ok(task) => tasks.push(task),
            Err(error) => {
                eprintln!("{vm}: {error}");
                refused = true;
            }
        }
    }
    if tasks.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let code = follow(context, farm, tasks).await?;
    Ok(if refused { ExitCode::FAILURE } else { code })
}

impl CreateArgs {
    fn request(self) -> CreateVm {
        CreateVm {
            name: self.name,
            host: self.host,
            datastore: self.datastore,
            memory: self.memory,
            vcpus: self.vcpus,
            disk: self.disk,
            import: self.import,
            iso: self.iso,
            networks: self.networks,
            power_on: self.start,
        }
    }
}

impl CloneArgs {
    async fn run(self, context: &Context, farm: &FarmClient) -> CliResult {
        let requests = match &self.from {
            None => vec![self.request(
                self.name.clone().unwrap_or_default(),
                self.ip,
                self.datastore.clone(),
                self.start,
            )],
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                let lines = clones::parse(&file.display().to_string(), &text)?;
                self.check(farm, file, &lines).await?;
                lines
                    .into_iter()
                    .map(|line| {
                        let datastore = line.datastore.or_else(|| self.datastore.clone());
                        self.request(
                            line.name,
                            Some((line.address, self.prefix)),
                            datastore,
                            true,
                        )
                    })
                    .collect()
            }
        };
        let mut tasks = Vec::new();
        for request in &requests {
            match farm.clone_vm(request).await {
                Ok(task) => tasks.push(task),
                Err(error) => {
                    eprintln!("{}: {error}", request.name);
                    if self.from.is_none() {
                        return Ok(ExitCode::FAILURE);
                    }
                    // Half a file is no farm: what has begun is ended, and leaves nothing.
                    for task in &tasks {
                        let _ = farm.cancel_task(task.id).await;
                    }
                    follow(context, farm, tasks).await?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        follow(context, farm, tasks).await
    }

    /// What the farm can say against a clone file before anything begins: names and
    /// addresses that are taken, datastores that are not there, each with its line.
    async fn check(
        &self,
        farm: &FarmClient,
        file: &std::path::Path,
        lines: &[clones::CloneLine],
    ) -> Result<(), CliError> {
        let (vms, stores) = (farm.vms().await?, farm.datastores().await?);
        let mut faults = Vec::new();
        for line in lines {
            let (at, name) = (line.line, &line.name);
            if vms.iter().any(|vm| vm.definition.name == *name) {
                faults.push(format!("line {at}: there is a VM {name} already"));
            }
            if let Some(vm) = vms
                .iter()
                .find(|vm| vm.definition.address == Some(line.address))
            {
                let owner = &vm.definition.name;
                faults.push(format!(
                    "line {at}: address {} belongs to {owner}",
                    line.address
                ));
            }
            if let Some(store) = &line.datastore
                && !stores.iter().any(|known| known.name == *store)
            {
                faults.push(format!("line {at}: there is no datastore {store}"));
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(clones::BadCloneFile {
            file: file.display().to_string(),
            faults,
        }
        .into())
    }

    fn request(
        &self,
        name: String,
        ip: Option<(Ipv4Addr, u8)>,
        datastore: Option<String>,
        power_on: bool,
    ) -> CloneVm {
        CloneVm {
            template: self.template.clone(),
            name,
            host: self.host.clone(),
            datastore,
            memory: self.memory,
            vcpus: self.vcpus,
            full: self.full,
            network: self.network.clone(),
            customization: ip.map(|(address, prefix)| Customization {
                address,
                prefix,
                gateway: self.gateway,
                dns: self.dns.clone(),
            }),
            power_on,
        }
    }
}

impl MigrateArgs {
    async fn run(self, context: &Context, farm: &FarmClient) -> CliResult {
        let options = MigrationOptions {
            downtime_limit_ms: self.downtime_limit,
            downtime_most_ms: self.downtime_most,
            max_bandwidth: self.max_bandwidth,
            precopy_limit_seconds: self.precopy_limit,
            auto_converge: !self.no_auto_converge,
        };
        let request = Migrate {
            to: self.to,
            options,
        };
        let vms = quickest_first(farm, self.vms.clone()).await?;
        let code = each(context, farm, vms, async |vm| {
            farm.migrate(vm, &request).await
        })
        .await?;
        if !context.json() {
            print_receipts(farm, &self.vms).await?;
        }
        Ok(code)
    }
}

/// In the order of the predicted times. What is not known stays at the end, where the farm says why.
async fn quickest_first(farm: &FarmClient, vms: Vec<String>) -> Result<Vec<String>, CliError> {
    if vms.len() < 2 {
        return Ok(vms);
    }
    let (known, moves) = (farm.vms().await?, farm.migrations(1000).await?);
    let predicted = |text: &String| {
        let vm = known.iter().find(|vm| {
            let definition = &vm.definition;
            definition.name == *text || definition.id.to_string() == *text
        })?;
        let id = vm.definition.id;
        let newest = moves
            .iter()
            .find(|one| one.vm == id && one.receipt.is_some());
        let receipt = newest.and_then(|one| one.receipt.as_ref());
        Some(predict::duration(receipt, vm.definition.memory))
    };
    let mut timed: Vec<_> = vms.iter().map(|vm| (predicted(vm), vm.clone())).collect();
    timed.sort_by_key(|(time, _)| time.unwrap_or(Duration::MAX));
    Ok(timed.into_iter().map(|(_, vm)| vm).collect())
}

/// What the newest migration of each VM cost, in a line.
async fn print_receipts(farm: &FarmClient, vms: &[String]) -> Result<(), CliError> {
    let newest = farm.migrations(1000).await?;
    for vm in vms {
        let mine = newest
            .iter()
            .find(|one| one.vm_name == *vm || one.vm.to_string() == *vm);
        if let Some(receipt) = mine.and_then(|one| one.receipt.as_ref()) {
            println!("{}", super::migration::summary(receipt));
        }
    }
    Ok(())
}

fn address(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        Some((
            address.parse().ok()?,
            prefix.parse::<u8>().ok().filter(|p| (1..=31).contains(p))?,
        ))
    });
    parsed.ok_or_else(|| "write an address with its prefix, such as 192.168.1.11/24".to_owned())
}

fn row(vm: &VmInfo) -> Vec<String> {
    let definition = &vm.definition;
    vec![
        definition.name.clone(),
        vm.state
            .map_or_else(|| "unknown".to_owned(), |state| state.to_string()),
        vm.host.to_string(),
        definition.memory.to_string(),
        definition.vcpus.to_string(),
        definition.datastore.clone(),
        or_dash(definition.address),
        vm.problem.clone().unwrap_or_default(),
    ]
}

fn lines(vm: &VmInfo) -> Vec<(&'static str, String)> {
    let definition = &vm.definition;
    let disks = definition
        .disks
        .iter()
        .map(|d| format!("{}:{} ({})", d.datastore, d.path, d.size));
    let nics = definition
        .nics
        .iter()
        .map(|nic| format!("{} on {}", nic.mac, nic.network));
    vec![
        ("name", definition.name.clone()),
        ("id", definition.id.to_string()),
        (
            "state",
            vm.state
                .map_or_else(|| "unknown".to_owned(), |state| state.to_string()),
        ),
        ("host", vm.host.to_string()),
        ("epoch", or_dash(vm.epoch)),
        ("problem", or_dash(vm.problem.clone())),
        ("memory", definition.memory.to_string()),
        (
            "vcpus",
            format!("{} ({})", definition.vcpus, definition.cpu_model),
        ),
        ("machine", definition.machine.clone()),
        ("disks", disks.collect::<Vec<_>>().join(", ")),
        ("cards", nics.collect::<Vec<_>>().join(", ")),
        ("address", or_dash(definition.address)),
        ("template", or_dash(definition.template.clone())),
        ("application", or_dash(definition.application.clone())),
        ("task", or_dash(vm.task)),
    ]
}
