//! What commands that speak to a manager share: where it is, how to print, how to fail.

use godwit_api::farm::MANAGER_PORT;
use godwit_api::farm::client::FarmClient;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Any error that ends a command: shown as one line with its causes.
pub type CliError = Box<dyn std::error::Error + Send + Sync>;

/// What a command gives.
pub type CliResult = Result<ExitCode, CliError>;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Options that all commands take.
#[derive(Debug, clap::Args)]
pub struct FarmArgs {
    /// The manager's address
    #[arg(long, global = true, env = "GODWIT_MANAGER", value_name = "ADDRESS:PORT", value_parser = address,
        default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, MANAGER_PORT)))]
    manager: SocketAddr,
    /// The farm CA's certificate
    #[arg(
        long,
        global = true,
        env = "GODWIT_CA",
        value_name = "FILE",
        default_value = "/var/lib/godwit/manager/ca.pem"
    )]
    ca: PathBuf,
    /// The file with the token to show
    #[arg(
        long,
        global = true,
        env = "GODWIT_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/lib/godwit/manager/admin.token"
    )]
    token_file: PathBuf,
    /// How to print results
    #[arg(long, short, global = true, value_enum, default_value = "table")]
    output: Output,
}

/// An address, also as people copy it out of a browser.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix("https://")
        .unwrap_or(text)
        .trim_end_matches('/');
    bare.parse()
        .map_err(|_| "write address and port, such as 10.77.0.1:7440".to_owned())
}

/// The command's surroundings.
#[derive(Debug)]
pub struct Context {
    args: FarmArgs,
}

/// Why the manager cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file without which it cannot be called.
    #[error("cannot read {what} {}: name the file with {option}, or copy it from the manager", .path.display())]
    Unreadable {
        /// What the file holds.
        what: &'static str,
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client cannot be made of them.
    #[error(transparent)]
    Client(#[from] godwit_api::http::CallError),
}

impl Context {
    /// The surroundings that the options say.
    pub fn new(args: FarmArgs) -> Self {
        Self { args }
    }

    /// Where the manager is.
    pub fn manager(&self) -> SocketAddr {
        self.args.manager
    }

    /// Whether results are for programs.
    pub fn json(&self) -> bool {
        self.args.output == Output::Json
    }

    /// The manager.
    ///
    /// # Errors
    /// The CA's certificate or the token cannot be read.
    pub fn farm(&self) -> Result<FarmClient, ConnectError> {
        let read = |path: &PathBuf, what, option| {
            std::fs::read_to_string(path).map_err(|source| ConnectError::Unreadable {
                what,
                option,
                path: path.clone(),
                source,
            })
        };
        let ca = read(&self.args.ca, "the farm CA's certificate", "--ca")?;
        let token = read(&self.args.token_file, "the token", "--token-file")?;
        Ok(FarmClient::new(self.args.manager, &ca, &token)?)
    }
}

/// An error with its causes in one line, each said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
