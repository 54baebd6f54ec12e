//! `godwit bench …`: measurements that need a lab.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use godwit_bench::plan::{Engine, Load};
use godwit_bench::result::{chart, table};
use godwit_bench::say::Say;
use godwit_bench::{BenchError, Options, Results, stop};
use godwit_lab::DEFAULT_DIR;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::{CliError, CliResult};

/// Compare ways to do things, in one run on one lab.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Move VMs by stock QEMU in several tunings and by Godwit; say what each move cost
    Migration(Box<MigrationArgs>),
}

/// What to measure. The link is the lab's: 1 Gb/s, or `lab up --unshaped`.
#[derive(Debug, Args)]
pub struct MigrationArgs {
    /// The lab's folder
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    lab: PathBuf,
    /// Template to clone [default: the only one]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The form of about five minutes: two runs, orders only, no return after ten minutes
    #[arg(long)]
    quick: bool,
    /// Engines: plain, plain-default, multifd-zstd, xbzrle, godwit [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = engine)]
    engines: Vec<Engine>,
    /// Loads: dvdstore, writer [default: both]; an unshaped link is measured without load
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = load)]
    loads: Vec<Load>,
    /// Moves of each kind [default: 5]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Moves of each kind where the lab's link is unshaped [default: 2]
    #[arg(long, value_name = "N")]
    unshaped_runs: Option<usize>,
    /// Seconds that VMs work before the first of them moves [default: 60]
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<u64>,
    /// Leave out the returns after ten minutes
    #[arg(long)]
    no_long_return: bool,
    /// Orders per minute and VM
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    orders_per_minute: f64,
    /// Pages of 4 KiB that the writer changes each second
    #[arg(long, value_name = "N", default_value_t = 1000)]
    dirty_pages: u32,
    /// Seed of the orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// Write the results for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the results of an earlier bench (a file of --json), of another link say, before these
    #[arg(long, value_name = "FILE")]
    append_to: Option<PathBuf>,
    /// Write a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write a page with the chart and the table
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn engine(name: &str) -> Result<Engine, String> {
    let found = Engine::ALL.into_iter().find(|engine| engine.name() == name);
    found.ok_or_else(|| "choose plain, plain-default, multifd-zstd, xbzrle or godwit".to_owned())
}

fn load(name: &str) -> Result<Load, String> {
    let all = [Load::Dvdstore, Load::Writer, Load::Idle];
    let found = all.into_iter().find(|load| load.name() == name);
    found.ok_or_else(|| "choose dvdstore, writer or none".to_owned())
}

/// Why the results are not there.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot {action} {}", .path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} holds no results of this bench: name a file that --json wrote", .path.display())]
    Content {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl BenchCommand {
    /// Does it.
    pub async fn run(self, json: bool) -> CliResult {
        match self {
            Self::Migration(args) => args.run(json).await,
        }
    }
}

impl MigrationArgs {
    async fn run(self, json: bool) -> CliResult {
        let options = self.options()?;
        if self.plan {
            return show_plan(&options).await;
        }
        let earlier = self.append_to.as_deref().map(read).transpose()?;
        let (stopper, stop) = stop::flag();
        tokio::spawn(stop_on_signals(stopper)?);
        let mut whole = None;
        let done = godwit_bench::run(&options, Say::new(), &stop, |results| {
            let mut results = results.clone();
            if let Some(earlier) = &earlier {
                results.append_to(earlier.clone());
            }
            // Each stage's results are kept, whatever the next one meets.
            if let Err(error) = self.write(&results) {
                eprintln!("godwit bench: {error}");
            }
            whole = Some(results);
        })
        .await;
        let Some(results) = whole else {
            done?;
            return Ok(ExitCode::FAILURE);
        };
        self.write(&results)?;
        if json {
            println!("{}", serde_json::to_string_pretty(&results.json())?);
        } else {
            print!("{}", table::text(&results));
        }
        match done {
            Ok(_) if results.problems.is_empty() => Ok(ExitCode::SUCCESS),
            Ok(_) => Ok(ExitCode::FAILURE),
            Err(BenchError::Interrupted) => Ok(ExitCode::from(130)),
            Err(error) => Err(error.into()),
        }
    }

    fn options(&self) -> Result<Options, CliError> {
        let lab = std::path::absolute(&self.lab)?;
        let usual = if self.quick {
            Options::quick(lab)
        } else {
            Options::new(lab)
        };
        let chosen = |wanted: &[Load]| {
            if wanted.is_empty() {
                usual.loads.clone()
            } else {
                wanted.to_vec()
            }
        };
        Ok(Options {
            template: self.template.clone(),
            engines: if self.engines.is_empty() {
                usual.engines
            } else {
                self.engines.clone()
            },
            loads: chosen(&self.loads),
            runs: self.runs.unwrap_or(usual.runs),
            unshaped_runs: self.unshaped_runs.unwrap_or(usual.unshaped_runs),
            warm_up: self.warm_up.map_or(usual.warm_up, Duration::from_secs),
            long_return: usual.long_return && !self.no_long_return,
            orders_per_minute: self.orders_per_minute,
            dirty_pages_per_second: self.dirty_pages,
            seed: self.seed,
            ..usual
        })
    }

    fn write(&self, results: &Results) -> Result<(), CliError> {
        let files = [
            (&self.json, serde_json::to_string_pretty(&results.json())?),
            (&self.svg, chart::svg(results)),
            (&self.html, chart::html(results)),
        ];
        for (path, text) in files {
            if let Some(path) = path {
                put(path, &text)?;
            }
        }
        Ok(())
    }
}

async fn show_plan(options: &Options) -> CliResult {
    let (plan, moves, takes) = godwit_bench::run::expected(options).await?;
    for one in moves {
        let stage = &plan.stages[one.stage];
        let visit = one.visit.map_or("not counted", |visit| visit.name());
        println!(
            "stage {} ({}, {})  VM {}  {}  {visit}",
            one.stage + 1,
            stage.link.name(),
            stage.load.name(),
            one.vm + 1,
            one.engine.name()
        );
    }
    println!("about {} min", takes.as_secs().div_ceil(60));
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Results, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    Results::read(&text).map_err(|source| FileError::Content {
        path: path.into(),
        source,
    })
}

/// Writes a file whole or not at all, and its folder.
fn put(path: &Path, text: &str) -> Result<(), FileError> {
    let failed = |source| FileError::Io {
        action: "write",
        path: path.into(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let part = path.with_extension("part");
    std::fs::write(&part, text).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

/// Ctrl-C and SIGTERM end the bench in good order: what was started is ended, what was measured is written.
fn stop_on_signals(stopper: stop::Stopper) -> Result<impl Future<Output = ()>, std::io::Error> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("godwit bench: ending");
        stopper.stop();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: BenchCommand,
    }

    fn options(line: &str) -> Options {
        let line = Line::try_parse_from(line.split(' ')).expect("a good line");
        let BenchCommand::Migration(args) = line.command;
        args.options().expect("good options")
    }

    #[test]
    fn choices_reach_the_bench() {
        let usual = options("bench migration --lab /lab");
        assert_eq!(
            (usual.runs, usual.engines.len(), usual.loads.len()),
            (5, 5, 2)
        );
        let chosen = options(
            "bench migration --lab /lab --quick --engines plain,godwit --loads writer --runs 3",
        );
        assert_eq!(chosen.engines, [Engine::Plain, Engine::Godwit]);
        assert_eq!(
            (chosen.loads, chosen.runs, chosen.long_return),
            (vec![Load::Writer], 3, false)
        );
        assert!(Line::try_parse_from("bench migration --engines magic".split(' ')).is_err());
    }
}
