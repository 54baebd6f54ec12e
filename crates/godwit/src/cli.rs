//! Every command, and the options that all of them take.

use crate::cmd::{
    agent::AgentCommand, audit::AuditCommand, bench::BenchCommand, completions::CompletionsArgs,
    datastore::DatastoreCommand, doctor::DoctorArgs, dvdstore::DvdstoreCommand,
    event::EventCommand, experiment::ExperimentCommand, host::HostCommand, image::ImageCommand,
    keeper::KeeperArgs, lab::LabCommand, manager::ManagerCommand, migration::MigrationCommand,
    network::NetworkCommand, relay::RelayCommand, task::TaskCommand, template::TemplateCommand,
    vm::VmCommand,
};
use crate::context::{CliError, Context, FarmArgs};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Live migration of running VMs, the farm it takes, and the proof of what it costs.
#[derive(Debug, clap::Parser)]
#[command(
    name = "godwit",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    farm: FarmArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one
enum Command {
    /// Say what this host can do and what is missing, each with its remedy
    Doctor(DoctorArgs),
    /// Hosts of the farm: list, figures, join tokens
    #[command(subcommand)]
    Host(HostCommand),
    /// VMs: create, clone, start, stop, migrate, delete
    #[command(subcommand)]
    Vm(VmCommand),
    /// Templates that VMs are cloned from
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Datastores that the hosts share
    #[command(subcommand)]
    Datastore(DatastoreCommand),
    /// Networks (virtual switches) that the hosts have
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Migrations and their receipts
    #[command(subcommand)]
    Migration(MigrationCommand),
    /// Tasks: list, wait, cancel
    #[command(subcommand)]
    Task(TaskCommand),
    /// What happened in the farm
    #[command(subcommand)]
    Event(EventCommand),
    /// Who asked for what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The daemon of a host: run it, join a farm
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The central daemon: run it, back it up, restore it
    #[command(subcommand)]
    Manager(ManagerCommand),
    /// The golden image: build it, import a disk
    #[command(subcommand)]
    Image(ImageCommand),
    /// A farm in one box
    #[command(subcommand)]
    Lab(LabCommand),
    /// The DVD Store: load a database, drive orders, audit them
    #[command(subcommand)]
    Dvdstore(DvdstoreCommand),
    /// The test of what migrations cost, and its report
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Compare ways to move a VM, on a lab
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Completions for a shell
    Completions(CompletionsArgs),
    /// The parent of a host's QEMU processes; started by the agent
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// One end of a migration's stream; started by the agent
    #[command(hide = true, subcommand)]
    Relay(RelayCommand),
}

impl Command {
    /// Whether it goes on for ever, whoever reads what it prints.
    fn is_daemon(&self) -> bool {
        matches!(
            self,
            Self::Agent(AgentCommand::Run(_))
                | Self::Manager(ManagerCommand::Run { .. })
                | Self::Keeper(_)
                | Self::Relay(_)
        )
    }
}

/// Writing into a closed pipe (`godwit vm list | head`) ends the program quietly.
fn end_with_the_reader() {
    // SAFETY: no other thread exists yet, and the default disposition runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> ExitCode {
        if !self.command.is_daemon() {
            end_with_the_reader();
        }
        start_log(&self.command);
        let context = Context::new(self.farm);
        match self.command {
            // These two must be alone in their process, before any other thread exists.
            Command::Keeper(args) => args.run(),
            Command::Relay(command) => command.run(),
            command => match tokio::runtime::Runtime::new() {
                Ok(runtime) => {
                    let code = runtime.block_on(run(command, &context));
                    runtime.shutdown_background();
                    code
                }
                Err(error) => {
                    eprintln!("godwit: no threads can be started: {error}");
                    ExitCode::FAILURE
                }
            },
        }
    }
}

async fn run(command: Command, context: &Context) -> ExitCode {
    let result: Result<ExitCode, CliError> = match command {
        Command::Doctor(args) => Ok(args.run(context.json()).await),
        Command::Host(command) => command.run(context).await,
        Command::Vm(command) => command.run(context).await,
        Command::Template(command) => command.run(context).await,
        Command::Datastore(command) => command.run(context).await,
        Command::Network(command) => command.run(context).await,
        Command::Migration(command) => command.run(context).await,
        Command::Task(command) => command.run(context).await,
        Command::Event(command) => command.run(context).await,
        Command::Audit(command) => command.run(context).await,
        Command::Agent(command) => command.run(context.manager()).await,
        Command::Manager(command) => command.run().await,
        Command::Image(command) => Ok(command.run(context.json()).await),
        Command::Lab(command) => Ok(command.run(context.json()).await),
        Command::Dvdstore(command) => Ok(command.run(context.json()).await),
        Command::Experiment(command) => Ok(command.run(|| context.farm(), context.json()).await),
        Command::Bench(command) => command.run(context.json()).await,
        Command::Completions(args) => Ok(args.run()),
        Command::Keeper(_) | Command::Relay(_) => Ok(ExitCode::FAILURE), // handled before
    };
    result.unwrap_or_else(|error| {
        eprintln!("godwit: {}", crate::context::chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// Daemons tell what they do; commands only what goes wrong. `GODWIT_LOG` says otherwise.
fn start_log(command: &Command) {
    let default = if command.is_daemon() { "info" } else { "error" };
    let filter = EnvFilter::try_from_env("GODWIT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
