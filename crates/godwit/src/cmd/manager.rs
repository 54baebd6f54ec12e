//! `godwit manager …`

use crate::context::CliResult;
use godwit_manager::config::ManagerConfig;
use godwit_manager::store;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The central daemon.
#[derive(Debug, clap::Subcommand)]
pub enum ManagerCommand {
    /// Run the manager
    Run {
        /// Its configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/godwit/manager.toml")]
        config: PathBuf,
    },
    /// Copy the farm's whole state (keys included) into a file; the manager may run
    Backup {
        /// The manager's state folder
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/godwit/manager")]
        state_dir: PathBuf,
        /// The new file
        file: PathBuf,
    },
    /// Put a backup in place; the manager must not run, and its old state is kept beside it
    Restore {
        /// The manager's state folder
        #[arg(long, value_name = "FOLDER", default_value = "/var/lib/godwit/manager")]
        state_dir: PathBuf,
        /// The backup
        file: PathBuf,
    },
}

impl ManagerCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager cannot start, or files cannot be read or written.
    pub async fn run(self) -> CliResult {
        match self {
            Self::Run { config } => {
                let config = ManagerConfig::read(&config)?;
                godwit_manager::run(config, asked_to_end()).await?;
            }
            Self::Backup { state_dir, file } => {
                store::backup(&state_dir, &file)?;
                println!(
                    "backed up to {}: keep it safe, it holds the farm's keys",
                    file.display()
                );
            }
            Self::Restore { state_dir, file } => {
                godwit_manager::restore(&file, &state_dir)?;
                println!("restored into {}", state_dir.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns on SIGTERM or SIGINT.
async fn asked_to_end() {
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
