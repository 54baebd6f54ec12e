//! `godwit relay send|receive`: one end of a migration's data path. Started by agents, not by people.

use std::process::ExitCode;

use clap::Subcommand;

/// Move one VM's state between two hosts; an agent starts and steers this.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Take QEMU's stream on a unix socket and send it to the other host.
    Send,
    /// Receive the stream and feed it to the QEMU that waits for it.
    Receive,
}

impl RelayCommand {
    /// Runs to the end of the migration. It gives up root's rights for the whole process and has a runtime of its
    /// own, so call it before any other is started.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self {
            Self::Send => godwit_stream::process::send(),
            Self::Receive => godwit_stream::process::receive(),
        }
    }
}
