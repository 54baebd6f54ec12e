//! `godwit doctor`: what this host can do and what is missing, each with its remedy.
//!
//! It needs neither an agent nor a manager, since it is what one runs before there is any. The
//! checks are collected from the crates that know what they need; here they are only shown.
//! Exit status 0: an agent can run (perhaps with warnings); 1: it cannot.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use godwit_model::doctor::{Check, CheckState, worst};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where an agent keeps its state.
const STATE_FOLDER: &str = "/var/lib/godwit";

/// Say what this host can do and what is missing, each with its remedy.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Folder of a datastore to be checked, too: room, and the locks that leases need
    #[arg(long = "datastore", value_name = "PATH")]
    datastores: Vec<PathBuf>,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether an agent can run here.
    agent_can_run: bool,
    checks: &'a [Check],
}

impl DoctorArgs {
    /// Looks and prints, as JSON if asked.
    pub async fn run(self, json: bool) -> ExitCode {
        // Everything here blocks: it starts programs and makes namespaces.
        let looked = tokio::task::spawn_blocking(move || look(&self.datastores)).await;
        let checks = match looked {
            Ok(checks) => checks,
            Err(error) => {
                eprintln!("godwit doctor: a check could not be carried through: {error}");
                return ExitCode::FAILURE;
            }
        };
        let agent_can_run = worst(&checks) != CheckState::Failed;
        if json {
            let report = Report {
                agent_can_run,
                checks: &checks,
            };
            let text = serde_json::to_string_pretty(&report);
            println!(
                "{}",
                text.expect("checks hold text only, which always becomes JSON")
            );
        } else {
            println!("{}\n\n{}", table(&checks).trim_fmt(), summary(&checks));
        }
        if agent_can_run {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn look(datastores: &[PathBuf]) -> Vec<Check> {
    // The agent's own folder may not exist yet: its disk is that of the nearest one that does.
    let state = Path::new(STATE_FOLDER)
        .ancestors()
        .find(|folder| folder.exists());
    let mut folders: Vec<PathBuf> = state.map(Path::to_owned).into_iter().collect();
    folders.extend_from_slice(datastores);
    folders.dedup();
    let mut checks = godwit_qemu::doctor::checks(&folders);
    checks.extend(godwit_net::doctor::checks());
    checks.extend(godwit_lease::doctor::checks(datastores));
    checks
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for check in checks {
        let (word, color) = match check.state {
            CheckState::Ok => ("ok", Color::Green),
            CheckState::Warning => ("warning", Color::Yellow),
            CheckState::Failed => ("FAILED", Color::Red),
        };
        let found = match &check.remedy {
            Some(remedy) => format!("{}\n→ {remedy}", check.found),
            None => check.found.clone(),
        };
        table.add_row([
            Cell::new(word).fg(color),
            Cell::new(&check.title),
            Cell::new(found),
        ]);
    }
    table
}

fn summary(checks: &[Check]) -> String {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let warnings = plural(count(CheckState::Warning), "warning");
    match count(CheckState::Failed) {
        0 => format!("An agent can run here ({warnings})."),
        n => format!(
            "An agent cannot run here: {} ({warnings}).",
            plural(n, "failed check")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_told_with_its_remedy() {
        let checks = [
            Check::ok("a", "Fine thing", "works"),
            Check::warning("b", "Slow thing", "crawls", "be patient"),
            Check::failed("c", "Gone thing", "missing", "bring it back"),
        ];
        let shown = table(&checks).to_string();
        assert!(
            shown.contains("FAILED") && shown.contains("→ bring it back"),
            "{shown}"
        );
        assert_eq!(
            summary(&checks),
            "An agent cannot run here: 1 failed check (1 warning)."
        );
        assert_eq!(summary(&checks[..1]), "An agent can run here (0 warnings).");
    }
}
