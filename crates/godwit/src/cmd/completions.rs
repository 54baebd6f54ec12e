//! `godwit completions SHELL`

use clap::CommandFactory;
use std::process::ExitCode;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Prints them.
    pub fn run(&self) -> ExitCode {
        let mut command = crate::cli::Cli::command();
        clap_complete::generate(self.shell, &mut command, "godwit", &mut std::io::stdout());
        ExitCode::SUCCESS
    }
}
