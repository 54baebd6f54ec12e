//! `godwit dvdstore drive`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use godwit_dvdstore::Seed;
use godwit_dvdstore::classic::Classic;
use godwit_dvdstore::connect::{describe, parse_url};
use godwit_dvdstore::driver::{self, DriverConfig, Pace, Sink, StopHandle, Target, Timeouts};
use godwit_dvdstore::load::inspect;
use godwit_dvdstore::record::RunId;
use godwit_dvdstore::script::Mix;

use super::display::{Display, lock, print};
use super::log::Log;
use super::{Failure, duration, print_json};

/// What to order where, and how fast.
#[derive(Debug, clap::Args)]
pub struct DriveArgs {
    /// The databases: URL or NAME=URL; the name stands in the log and the report
    #[arg(required = true, value_name = "[NAME=]URL")]
    targets: Vec<String>,
    /// Users for each database, each of whom waits for an answer before the next order
    #[arg(long, alias = "users", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Users that begin each second
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = positive)]
    ramp_rate: f64,
    /// Mean time that a user thinks after an order
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    think_time: Duration,
    /// Orders per minute that arrive at each database whether or not it keeps up, instead of users
    #[arg(long, value_name = "OPM", conflicts_with_all = ["threads", "ramp_rate", "think_time"], value_parser = positive)]
    open: Option<f64>,
    /// Most connections to a database with --open
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long to measure; until Ctrl-C if not given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    run_time: Option<Duration>,
    /// How long to drive before measuring
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    warm_up: Duration,
    /// Orders from new customers
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u8).range(..=100))]
    new_customers: u8,
    /// Mean number of searches of an order
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    searches: u32,
    /// Mean number of titles that a search asks for
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    search_batch: u32,
    /// Mean number of lines of an order
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10))]
    lines: u32,
    /// Decides what is ordered, and when
    #[arg(long, value_name = "N", default_value_t = Seed(1))]
    seed: Seed,
    /// How long to wait for a connection or an answer before an order counts as failed
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    timeout: Duration,
    /// Write every order to this file, for the audit
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// Print the lines of another driver instead
    #[arg(long, value_name = "DRIVER")]
    compat: Option<Compat>,
}

/// Whose lines to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compat {
    /// DVD Store 2
    Ds2,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "give a number above 0".to_owned())
}

impl DriveArgs {
    pub(super) async fn run(self, json: bool) -> Result<ExitCode, Failure> {
        let targets = self.targets().await?;
        let log = self.orders.as_deref().map(Log::create).transpose()?;
        let classic: Arc<Mutex<Classic>> = Arc::default();
        let driver = driver::start(targets, self.config(), sink(&classic, log.as_ref()));
        let log = log.map(|log| log.write(driver.stop_handle()));
        tokio::spawn(stop_on_signals(driver.stop_handle()));
        let display = match self.compat {
            Some(Compat::Ds2) => Display::Classic(classic.clone()),
            None => Display::for_people(),
        };
        let showing = tokio::spawn(display.show(driver.progress()));
        let report = driver.finished().await;
        let _ = showing.await;
        if let Some(log) = log {
            log.finish().await?;
        }
        if json {
            print_json(&report);
        } else if self.compat == Some(Compat::Ds2) {
            let elapsed = report.stopped.since(report.measured_from);
            println!("{}", lock(&classic).final_line(elapsed));
        } else {
            print(&report);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Asks each database which store it holds.
    async fn targets(&self) -> Result<Vec<Target>, Failure> {
        let mut targets = Vec::new();
        for (number, text) in (0..).zip(&self.targets) {
            let (name, url) = split_name(text);
            let config = parse_url(url)?;
            let size = inspect(&config).await?.size;
            let name = name.map_or_else(|| describe(&config), ToOwned::to_owned);
            targets.push(Target {
                name,
                config,
                number,
                size,
            });
        }
        Ok(targets)
    }

    fn config(&self) -> DriverConfig {
        let pace = match self.open {
            Some(orders_per_minute) => Pace::Open {
                orders_per_minute,
                connections: self.connections,
            },
            None => Pace::Closed {
                users: self.threads,
                ramp_per_second: self.ramp_rate,
                think_time: self.think_time,
            },
        };
        DriverConfig {
            seed: self.seed,
            run: RunId::fresh(),
            mix: Mix {
                new_customers_percent: f64::from(self.new_customers),
                searches: self.searches,
                search_batch: self.search_batch,
                lines: self.lines,
            },
            pace,
            warm_up: self.warm_up,
            run_time: self.run_time,
            timeouts: Timeouts {
                connect: self.timeout,
                statement: self.timeout,
                ..Timeouts::default()
            },
        }
    }
}

/// Gives every order to those who sum up and to the log.
fn sink(classic: &Arc<Mutex<Classic>>, log: Option<&Log>) -> Sink {
    let (classic, orders) = (classic.clone(), log.map(Log::orders));
    Arc::new(move |order| {
        lock(&classic).record(&order);
        if let Some(orders) = &orders {
            orders.add(order);
        }
    })
}

/// `NAME=URL` or a URL; `host=… dbname=…` is a URL in its other form.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, url)) if url.contains("://") && !name.contains("://") => (Some(name), url),
        Some((name, url)) if url.starts_with("host=") => (Some(name), url),
        _ => (None, text),
    }
}

/// The first Ctrl-C or SIGTERM ends the run in good order, a second one at once.
async fn stop_on_signals(stop: StopHandle) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return; // without handlers a signal simply ends the process
    };
    for first in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if first {
            eprintln!("finishing the orders in flight; once more to leave them");
            stop.stop();
        }
    }
    std::process::exit(130);
}
