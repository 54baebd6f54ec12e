//! `godwit keeper`: the parent of every QEMU of this host (see `godwit_lease::keeper`). Hidden,
//! because the agent starts it; by hand it is for debugging.

use std::{path::PathBuf, process::ExitCode};

/// Keep this host's VMs: be the parent of every QEMU, and outlive the agent.
#[derive(Debug, clap::Args)]
pub struct KeeperArgs {
    /// Where its socket, its pid file and its locks are.
    #[arg(long, value_name = "DIR", default_value = "/run/godwit")]
    run_dir: PathBuf,
}

impl KeeperArgs {
    /// Runs until it is told to end. To be called on the main thread, without a runtime: the
    /// life of every VM is tied to the thread that calls this.
    pub fn run(self) -> ExitCode {
        let Err(error) = godwit_lease::keeper::serve(&self.run_dir) else {
            return ExitCode::SUCCESS;
        };
        eprintln!("godwit keeper: {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            eprintln!("  because: {error}");
            cause = error.source();
        }
        ExitCode::FAILURE
    }
}
