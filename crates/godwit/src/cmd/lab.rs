//! `godwit lab …`: a farm in one box, for trying out, for tests and for the paper's experiment.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use godwit_lab::folder::{Description, Folder};
use godwit_lab::spec::Subnet;
use godwit_lab::storage::{self, Mode};
use godwit_lab::up::Stop;
use godwit_lab::{DEFAULT_DIR, LabError, Spec, network};
use godwit_net::htb::Bandwidth;
use tokio::signal::unix::{SignalKind, signal};

mod show;

/// Build, look at, use and take down a farm in one box.
#[derive(Debug, clap::Subcommand)]
pub enum LabCommand {
    /// Build the farm, or what is missing of it
    Up(UpArgs),
    /// Show the farm and how to reach its manager
    Status(DirArgs),
    /// Take the farm down: nothing is left but its files
    Down(DownArgs),
    /// Run a command inside a blade
    Exec(ExecArgs),
    /// Make a datastore fail for one blade (of a lab built with --faulty-storage)
    Storage(StorageArgs),
    /// The first process of a box; started by `up`
    #[command(hide = true)]
    BoxInit(BoxInitArgs),
}

/// Where the lab lives.
#[derive(Debug, clap::Args)]
pub struct DirArgs {
    /// The lab's folder
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
}

/// What the farm shall be. Without any of these a farm that is up stays as it is.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Hosts of the farm [default: 2]
    #[arg(long, value_name = "N")]
    blades: Option<u8>,
    /// Cores of each blade [default: the machine's, shared out]
    #[arg(long, value_name = "N")]
    cores_per_blade: Option<usize>,
    /// Rate of the card that VMs and migration share, both ways [default: 1000]
    #[arg(long, value_name = "MBIT", conflicts_with = "unshaped", value_parser = clap::value_parser!(u64).range(1..))]
    mbit: Option<u64>,
    /// Leave that card as fast as the machine is
    #[arg(long)]
    unshaped: bool,
    /// Network of manager and agents [default: 10.77.0.0/24]
    #[arg(long, value_name = "NETWORK")]
    management_network: Option<Subnet>,
    /// Network of VMs and migration [default: 192.168.1.0/24]
    #[arg(long, value_name = "NETWORK")]
    production_network: Option<Subnet>,
    /// First letters of its interfaces' names; a second lab needs others, and other networks [default: gw]
    #[arg(long)]
    prefix: Option<String>,
    /// Folder for the datastores san1 and san2 [default: the lab's]
    #[arg(long, value_name = "DIR")]
    datastores: Option<PathBuf>,
    /// Let blades see their datastores through a layer that can be made to fail (see `lab storage`)
    #[arg(long)]
    faulty_storage: bool,
}

/// How to take it down.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Remove its files, too: VMs, templates, the manager's state
    #[arg(long)]
    purge: bool,
}

/// What to run where.
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The blade, such as blade1
    blade: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Whose storage shall behave how.
#[derive(Debug, clap::Args)]
pub struct StorageArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The blade, such as blade1
    blade: String,
    /// The datastore: SAN1 or SAN2
    datastore: String,
    /// ok, cut (every call fails), hang (every call waits), full or stale (old names and attributes); shown if left out
    mode: Option<Mode>,
}

/// Which box to be the first process of.
#[derive(Debug, clap::Args)]
pub struct BoxInitArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The box's name
    #[arg(long = "box")]
    name: String,
}

impl LabCommand {
    /// Does it, and prints for a program if `json` is set.
    pub async fn run(self, json: bool) -> ExitCode {
        let done = match self {
            Self::Up(args) => up(args, json).await,
            Self::Status(args) => blocking(move || show(&args.dir, json)).await,
            Self::Down(args) => blocking(move || down(&args)).await,
            Self::Exec(args) => exec(args).await,
            Self::Storage(args) => blocking(move || behave(&args)).await,
            Self::BoxInit(args) => box_init(&args).await,
        };
        done.unwrap_or_else(|error| {
            eprintln!("godwit lab: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        })
    }
}

async fn up(args: UpArgs, json: bool) -> Result<ExitCode, LabError> {
    let stop = Stop::default();
    tokio::spawn(stop_on_signals(stop.clone())?);
    let spec = args.spec()?;
    let dir = spec.dir.clone();
    godwit_lab::up(spec, &|what| eprintln!("lab: {what}"), &stop).await?;
    blocking(move || show(&dir, json)).await
}

impl UpArgs {
    fn spec(self) -> Result<Spec, LabError> {
        let dir = absolute(&self.dir.dir)?;
        if let Some(spec) = self.of_lab_that_is_up(&dir)? {
            return Ok(spec);
        }
        let exe = std::env::current_exe().map_err(|source| LabError::System {
            action: "find this program".into(),
            source,
        })?;
        let usual = Spec::new(&dir, &exe);
        let shaped = self.mbit.map(Bandwidth::from_megabits).or(usual.bandwidth);
        Ok(Spec {
            blades: self.blades.unwrap_or(usual.blades),
            cores_per_blade: self.cores_per_blade,
            bandwidth: shaped.filter(|_| !self.unshaped),
            management: self.management_network.unwrap_or(usual.management),
            production: self.production_network.unwrap_or(usual.production),
            prefix: self.prefix.unwrap_or(usual.prefix),
            faulty_storage: self.faulty_storage,
            datastores: self.datastores.as_deref().map(absolute).transpose()?,
            ..usual
        })
    }

    /// When nothing was chosen and a lab is up, its own choices.
    fn of_lab_that_is_up(&self, dir: &Path) -> Result<Option<Spec>, LabError> {
        let names = self.management_network.is_some() || self.production_network.is_some();
        let networks = names || self.prefix.is_some();
        let cards = self.mbit.is_some() || self.unshaped;
        let hosts = self.blades.is_some() || self.cores_per_blade.is_some();
        let storage = self.datastores.is_some() || self.faulty_storage;
        if networks || cards || hosts || storage {
            return Ok(None);
        }
        let found = Folder::new(dir).description()?;
        Ok(found
            .filter(|Description { spec, plan, .. }| network::is_there(spec, plan))
            .map(|found| found.spec))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, LabError> {
    std::path::absolute(path).map_err(|source| LabError::File {
        action: "find",
        path: path.into(),
        source,
    })
}

/// Ctrl-C and SIGTERM stop `up` between two steps; what was made is undone.
fn stop_on_signals(stop: Stop) -> Result<impl Future<Output = ()>, LabError> {
    let listen = |kind| {
        signal(kind).map_err(|source| LabError::System {
            action: "listen for signals".into(),
            source,
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("lab: stopping");
        stop.stop();
    })
}

fn down(args: &DownArgs) -> Result<ExitCode, LabError> {
    godwit_lab::down(&absolute(&args.dir.dir)?, args.purge)?;
    Ok(ExitCode::SUCCESS)
}

async fn exec(args: ExecArgs) -> Result<ExitCode, LabError> {
    // Ctrl-C is the command's to handle; caught here, it does not end us before the command has ended.
    let _interrupt = signal(SignalKind::interrupt());
    blocking(move || {
        let status = godwit_lab::exec(&absolute(&args.dir.dir)?, &args.blade, &args.command)?;
        Ok(ExitCode::from(godwit_lab::exec::shell_status(status)))
    })
    .await
}

fn behave(args: &StorageArgs) -> Result<ExitCode, LabError> {
    let dir = absolute(&args.dir.dir)?;
    match args.mode {
        Some(mode) => storage::set(&dir, &args.blade, &args.datastore, mode)?,
        None => println!("{}", storage::mode(&dir, &args.blade, &args.datastore)?),
    }
    Ok(ExitCode::SUCCESS)
}

async fn box_init(args: &BoxInitArgs) -> Result<ExitCode, LabError> {
    godwit_lab::init::run(&args.dir.dir, &args.name).await?;
    Ok(ExitCode::SUCCESS)
}

async fn blocking(
    work: impl FnOnce() -> Result<ExitCode, LabError> + Send + 'static,
) -> Result<ExitCode, LabError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Prints the lab as it is. The exit status says whether all of it is up.
fn show(dir: &Path, json: bool) -> Result<ExitCode, LabError> {
    let status = godwit_lab::status(&absolute(dir)?)?;
    if json {
        let text = serde_json::to_string_pretty(&status);
        println!(
            "{}",
            text.expect("a status holds text and numbers only, which always become JSON")
        );
    } else {
        print!("{}", show::text(&status));
    }
    Ok(if status.is_up() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: LabCommand,
    }

    fn parse(line: &str) -> LabCommand {
        Line::try_parse_from(line.split(' '))
            .expect("a good line")
            .command
    }

    fn spec(line: &str) -> Spec {
        let LabCommand::Up(args) = parse(line) else {
            panic!("{line}")
        };
        args.spec().expect("a good choice")
    }

    #[test]
    fn choices_reach_the_lab() {
        let usual = spec("lab up --dir /no/lab/here");
        assert_eq!(
            (usual.blades, usual.bandwidth),
            (2, Some(Bandwidth::GIGABIT))
        );
        let chosen = spec(
            "lab up --dir /no/lab/here --blades 3 --mbit 100 --production-network 10.5.5.0/24",
        );
        assert_eq!(
            (chosen.blades, chosen.bandwidth),
            (3, Some(Bandwidth::from_megabits(100)))
        );
        assert_eq!(chosen.production.to_string(), "10.5.5.0/24");
        assert_eq!(spec("lab up --dir /no/lab/here --unshaped").bandwidth, None);
        assert!(Line::try_parse_from("lab up --unshaped --mbit 5".split(' ')).is_err());
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let LabCommand::Exec(args) = parse("lab exec blade1 -- ls -l --dir x") else {
            panic!("exec")
        };
        assert_eq!(
            (args.blade.as_str(), args.command.join(" ")),
            ("blade1", "ls -l --dir x".into())
        );
        assert_eq!(args.dir.dir, Path::new(DEFAULT_DIR));
    }
}
