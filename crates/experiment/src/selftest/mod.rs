//! Is the instrument itself right? A run in which nothing moves must show no effect, and a VM that
//! is stopped for half a second must be seen as silent for half a second, by the echo probe and by
//! the clients.

mod judge;
mod pause;

use std::path::Path;

use godwit_api::farm::client::FarmClient;
use serde::{Deserialize, Serialize};

pub use judge::{Pause, check_null_run, check_pauses};

use crate::profile::{Load, Profile, ProfileName};
use crate::raw::RunDir;
use crate::run::{self, Options, RunError, Status, Stop};

/// One question put to the instrument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was asked.
    pub name: String,
    /// Whether the answer is right.
    pub ok: bool,
    /// The answer.
    pub found: String,
}

impl Check {
    fn new(name: &str, ok: bool, found: String) -> Self {
        Self {
            name: name.to_owned(),
            ok,
            found,
        }
    }
}

/// All checks: `selftest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// All answers are right.
    pub ok: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

impl SelfTest {
    /// For a terminal.
    #[must_use]
    pub fn lines(&self) -> String {
        let line = |check: &Check| {
            let word = if check.ok { "ok    " } else { "WRONG " };
            format!("{word} {}: {}\n", check.name, check.found)
        };
        self.checks.iter().map(line).collect()
    }
}

/// The null run's profile: two VMs, as many intervals as the schedule needs, and no migrations.
#[must_use]
pub fn null_profile(template: String) -> Profile {
    Profile {
        vms: 2,
        warmup_s: 10,
        interval_s: 20,
        intervals: 2,
        migrations_step: 0,
        load: Load::OrdersPerMinute(60.0),
        template,
        ..Profile::named(ProfileName::Demo)
    }
}

/// Runs both checks on a farm: about four minutes. Results are under the options' folder.
///
/// # Errors
/// Nothing could be measured.
pub async fn run(
    client: FarmClient,
    options: &Options,
    status: &Status,
    stop: &Stop,
) -> Result<SelfTest, RunError> {
    let null = Options {
        out: options.out.join("null"),
        ..options.clone()
    };
    status.step("the null run: the schedule without its migrations");
    let report = run::run(client.clone(), &null, status, stop).await?;
    let mut checks = check_null_run(&report);
    if stop.is_raised() {
        return Err(RunError::Interrupted);
    }
    status.step("the known pause: a VM is stopped for half a second, three times");
    checks.extend(pause::run(client, options, status, stop).await?);
    let result = SelfTest {
        ok: checks.iter().all(|c| c.ok),
        checks,
    };
    write(&options.out, &result)?;
    Ok(result)
}

fn write(folder: &Path, result: &SelfTest) -> Result<(), RunError> {
    // Plain text and booleans always become JSON.
    let text = serde_json::to_string_pretty(result).unwrap_or_default();
    Ok(RunDir::at(folder).write("selftest.json", &(text + "\n"))?)
}
