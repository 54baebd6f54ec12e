//! `--watch`: the same listing again and again, until Ctrl-C.

use crate::context::CliResult;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// Prints by `once`; with `watch`, again each second until Ctrl-C.
///
/// # Errors
/// Those of `once`.
pub async fn repeat(watch: bool, once: impl AsyncFn() -> CliResult) -> CliResult {
    if !watch {
        return once().await;
    }
    loop {
        if std::io::stdout().is_terminal() {
            print!("\x1b[H\x1b[2J"); // home, clear
        }
        once().await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}
