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
    // Writing into a closed pipe (`godwit vm list | head`) ends the program quietly.
    // SAFETY: the default disposition of a signal is set before any thread exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    cli::Cli::parse().run()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_option_means_two_things() {
        crate::cli::Cli::command().debug_assert();
    }
}
