//! `godwit event …`

use crate::context::{CliResult, Context};
use crate::output;
use godwit_model::task::{FarmEvent, Severity};
use std::process::ExitCode;
use std::time::Duration;

/// What happened in the farm.
#[derive(Debug, clap::Subcommand)]
pub enum EventCommand {
    /// List the newest events
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Go on with what happens from now on, until Ctrl-C
        #[arg(long, short)]
        watch: bool,
    },
}

impl EventCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let Self::List { limit, watch } = self;
        let farm = context.farm()?;
        let events = farm.events(None, limit).await?;
        if !watch {
            return output::list(
                context,
                &events,
                &["id", "at", "severity", "kind", "message"],
                row,
            );
        }
        let mut newest = events.last().map_or(0, |event| event.id);
        print_all(context, &events)?;
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            }
            let events = farm.events(Some(newest), limit).await?;
            newest = events.last().map_or(newest, |event| event.id);
            print_all(context, &events)?;
        }
    }
}

/// One event to a line, as text or as JSON.
fn print_all(context: &Context, events: &[FarmEvent]) -> Result<(), serde_json::Error> {
    for event in events {
        if context.json() {
            println!("{}", serde_json::to_string(event)?);
        } else {
            println!("{}", row(event).join("  "));
        }
    }
    Ok(())
}

fn row(event: &FarmEvent) -> Vec<String> {
    let severity = match event.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    vec![
        event.id.to_string(),
        event.at.to_string(),
        severity.to_owned(),
        event.kind.clone(),
        event.message.clone(),
    ]
}
