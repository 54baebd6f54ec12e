//! `godwit`: the one binary. Read `cli.rs` for what it can do.

mod cli;
mod clones;
mod cmd;
mod context;
mod output;
mod progress;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    #[test]
    fn no_option_means_two_things() {
        let root = crate::cli::Cli::command();
        let shared: Vec<_> = root
            .get_arguments()
            .map(|arg| arg.get_id().clone())
            .collect();
        let mut open: Vec<&Command> = root.get_subcommands().collect();
        while let Some(command) = open.pop() {
            for arg in command.get_arguments() {
                let name = command.get_name();
                assert!(
                    !shared.contains(arg.get_id()),
                    "{name} redefines --{}",
                    arg.get_id()
                );
            }
            open.extend(command.get_subcommands());
        }
        root.debug_assert();
    }
}
