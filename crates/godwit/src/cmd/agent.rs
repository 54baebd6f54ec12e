//! `godwit agent …`: the daemon of a host, and joining a farm.

use godwit_agent::config::DEFAULT_PATH;
use godwit_agent::{AgentConfig, Join};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Run a host of the farm.
#[derive(Debug, clap::Subcommand)]
pub enum AgentCommand {
    /// Run the agent of this host; VMs outlive it
    Run(ConfigArgs),
    /// Join a farm: make keys here and have the manager sign them
    Join(JoinArgs),
    /// Check the configuration and say what it means
    Check(ConfigArgs),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// How to join.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// The token that `godwit host token` printed on the manager; good for one host, once
    #[arg(
        long,
        value_name = "TOKEN",
        env = "GODWIT_JOIN_TOKEN",
        hide_env_values = true
    )]
    token: String,
    /// Replace the identity that this host has
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl AgentCommand {
    /// Carries it out.
    ///
    /// `manager` is where a host joins.
    ///
    /// # Errors
    /// What went wrong, with its causes.
    pub async fn run(self, manager: SocketAddr) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Run(args) => run(&args.config).await,
            Self::Join(args) => args.run(manager).await,
            Self::Check(args) => check(&args.config),
        }
    }
}

async fn run(path: &Path) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    // A relay that has died must not take the agent with it: commands to it go through a pipe.
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let config = AgentConfig::load(path)?;
    let exe = std::env::current_exe()?;
    // Taken before anything is begun: an early signal must not be lost.
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    godwit_agent::run(config, exe, ended(interrupt, terminate)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn ended(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl JoinArgs {
    async fn run(self, manager: SocketAddr) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
        let config = AgentConfig::load(&self.config.config)?;
        let join = Join {
            manager: manager.to_string(),
            token: self.token,
            force: self.force,
        };
        godwit_agent::join(&config, &join).await?;
        println!(
            "host {} has joined; start its agent with `godwit agent run`",
            config.id
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn check(path: &Path) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let config = AgentConfig::load(path)?;
    println!("{} is valid", path.display());
    println!(
        "  host {} serves on {}, receives VMs on {}",
        config.id, config.listen, config.migration_address
    );
    for card in &config.cards {
        let shared = if card.is_shared() { ", shared" } else { "" };
        println!("  card {} for {:?}{shared}", card.name, card.roles);
    }
    for switch in &config.switches {
        let uplink = switch.uplink.as_deref().unwrap_or("none");
        println!(
            "  network {} is bridge {}, uplink {uplink}",
            switch.name, switch.bridge
        );
    }
    for datastore in &config.datastores {
        println!(
            "  datastore {} is {}",
            datastore.name,
            datastore.path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}
