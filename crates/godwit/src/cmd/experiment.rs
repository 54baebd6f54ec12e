//! `godwit experiment …`: the paper's test, its report, and the test of the instrument itself.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use futures::FutureExt as _;
use godwit_api::farm::client::FarmClient;
use godwit_experiment::profile::{Load, LoopKind, Profile, ProfileName};
use godwit_experiment::raw::{RawError, RunDir, join};
use godwit_experiment::records::Part;
use godwit_experiment::report::{self, Report};
use godwit_experiment::run::{self, Options, RunError, Status, Stop, stop};
use godwit_experiment::selftest;
use tokio::signal::unix::{SignalKind, signal};

/// Measure what live migration costs the applications inside the VMs.
#[derive(Debug, Subcommand)]
pub enum ExperimentCommand {
    /// Run the paper's test on the farm and write its report
    Run(Box<RunArgs>),
    /// Write the report of a run anew from its raw data, also of an interrupted one
    Report(ReportArgs),
    /// Make one run of two parts that were run apart
    Join(JoinArgs),
    /// Check the instrument itself: a null run and a known pause (about four minutes)
    Selftest(SelftestArgs),
}

/// What to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// demo: 4 VMs, 2 × 2 minutes; half: 10 VMs, 2 × 25 minutes; paper: 20 VMs, 2 × 100 minutes
    #[arg(long, default_value = "demo", value_name = "demo|half|paper")]
    profile: ProfileName,
    /// Folder of the run; a whole run replaces an earlier one in it
    #[arg(long, value_name = "DIR", default_value = "out/experiment")]
    out: PathBuf,
    /// The parts to run
    #[arg(long, value_enum, default_value = "both")]
    part: PartChoice,
    /// Number of VMs
    #[arg(long, value_name = "N")]
    vms: Option<u32>,
    /// Seconds of warm-up before each part is measured
    #[arg(long, value_name = "SECONDS")]
    warmup: Option<u32>,
    /// Seconds per interval
    #[arg(long, value_name = "SECONDS")]
    interval: Option<u32>,
    /// Number of intervals
    #[arg(long, value_name = "N")]
    intervals: Option<u32>,
    /// Interval k has k times this many migrations
    #[arg(long, value_name = "N")]
    migrations_step: Option<u32>,
    /// Load: orders per minute and VM (50opm), or find the rate that keeps the hosts so busy (57%cpu)
    #[arg(long, value_name = "LOAD")]
    load: Option<Load>,
    /// open: orders fall due at fixed random times; closed: each client waits, as in the paper
    #[arg(long = "loop", value_name = "open|closed")]
    loop_kind: Option<LoopKind>,
    /// Milliseconds between two echo probes
    #[arg(long, value_name = "MS")]
    probe_ms: Option<u32>,
    #[command(flatten)]
    farm: FarmArgs,
}

/// How the farm is used.
#[derive(Debug, Args)]
pub struct FarmArgs {
    /// Seed of orders, schedule and statistics
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Template to clone [default: the only one, or the one named after the database's size]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The two hosts [default: the first two that are up]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Datastores that the VMs are laid on in turn [default: the template's]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    datastores: Vec<String>,
    /// The VMs are called PREFIX-01 and so on; VMs of these names are removed first
    #[arg(long, value_name = "PREFIX", default_value = "shop")]
    prefix: String,
    /// Address of the first VM; the test needs twice as many as VMs
    #[arg(long, value_name = "ADDRESS", default_value = "192.168.1.11")]
    first_address: Ipv4Addr,
    /// The VMs' gateway
    #[arg(long, value_name = "ADDRESS", default_value = "192.168.1.1")]
    gateway: Ipv4Addr,
    /// VMs that may boot at the same time [default: the hosts' cores]
    #[arg(long, value_name = "N")]
    boots_at_once: Option<u32>,
    /// Seconds that a VM may take until it answers queries
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    ready_within: u64,
    /// Leave the VMs of the last part
    #[arg(long)]
    keep: bool,
}

/// The parts of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PartChoice {
    /// Both, one after the other
    Both,
    /// Without migrations
    Baseline,
    /// With migrations
    Migrations,
}

/// Which run.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder
    dir: PathBuf,
}

/// Which runs.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Folder of one part
    a: PathBuf,
    /// Folder of the other part
    b: PathBuf,
    /// Folder for the whole
    #[arg(long, value_name = "DIR", default_value = "out/joined")]
    out: PathBuf,
}

/// How to test the instrument.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Folder for what is measured
    #[arg(long, value_name = "DIR", default_value = "out/selftest")]
    out: PathBuf,
    #[command(flatten)]
    farm: FarmArgs,
}

impl ExperimentCommand {
    /// Does it. `connect` is called by the commands that need a farm; with `json` the result is
    /// printed for a program. Fails also when the figures are not valid.
    pub async fn run<E: Error>(
        self,
        connect: impl FnOnce() -> Result<FarmClient, E>,
        json: bool,
    ) -> ExitCode {
        let client = match &self {
            Self::Run(_) | Self::Selftest(_) => match connect() {
                Ok(client) => Some(client),
                Err(error) => return fail(&error),
            },
            Self::Report(_) | Self::Join(_) => None,
        };
        let done = match (self, client) {
            (Self::Run(args), Some(client)) => measure(client, &args.options(), json).await,
            (Self::Selftest(args), Some(client)) => check(client, &args.options(), json).await,
            (Self::Report(args), _) => blocking(move || again(&args.dir, json)).await,
            (Self::Join(args), _) => blocking(move || joined(&args, json)).await,
            // The first match has made a client for these.
            (Self::Run(_) | Self::Selftest(_), None) => Ok(ExitCode::FAILURE),
        };
        done.unwrap_or_else(|error| fail(&error))
    }
}

impl RunArgs {
    fn options(&self) -> Options {
        let named = Profile::named(self.profile);
        let profile = Profile {
            vms: self.vms.unwrap_or(named.vms),
            warmup_s: self.warmup.unwrap_or(named.warmup_s),
            interval_s: self.interval.unwrap_or(named.interval_s),
            intervals: self.intervals.unwrap_or(named.intervals),
            migrations_step: self.migrations_step.unwrap_or(named.migrations_step),
            load: self.load.unwrap_or(named.load),
            loop_kind: self.loop_kind.unwrap_or(named.loop_kind),
            probe_ms: self.probe_ms.unwrap_or(named.probe_ms),
            ..named
        };
        let parts = match self.part {
            PartChoice::Both => vec![Part::Baseline, Part::Migrating],
            PartChoice::Baseline => vec![Part::Baseline],
            PartChoice::Migrations => vec![Part::Migrating],
        };
        self.farm.options(profile, self.out.clone(), parts)
    }
}

impl SelftestArgs {
    fn options(&self) -> Options {
        let profile = selftest::null_profile(String::new());
        self.farm.options(
            profile,
            self.out.clone(),
            vec![Part::Baseline, Part::Migrating],
        )
    }
}

impl FarmArgs {
    fn options(&self, profile: Profile, out: PathBuf, parts: Vec<Part>) -> Options {
        let profile = Profile {
            template: self.template.clone().unwrap_or_default(),
            boots_at_once: self.boots_at_once.unwrap_or(profile.boots_at_once),
            ..profile
        };
        Options {
            seed: self.seed,
            parts,
            hosts: self.hosts.clone(),
            prefix: self.prefix.clone(),
            first_address: self.first_address,
            gateway: Some(self.gateway),
            datastores: self.datastores.clone(),
            ready_within: Duration::from_secs(self.ready_within),
            keep: self.keep,
            ..Options::new(profile, out)
        }
    }
}

async fn measure(client: FarmClient, options: &Options, json: bool) -> Result<ExitCode, RunError> {
    let (status, stop) = (Status::new(), stop_on_signals());
    let result = run::run(client, options, &status, &stop).await;
    status.clear();
    let report = result?;
    let code = show(&report, &options.out, json);
    // Who asked for one part only has got what was asked for.
    let as_asked = options.parts.len() == 1 && report.is_good_half();
    Ok(if as_asked { ExitCode::SUCCESS } else { code })
}

async fn check(client: FarmClient, options: &Options, json: bool) -> Result<ExitCode, RunError> {
    let (status, stop) = (Status::new(), stop_on_signals());
    let result = selftest::run(client, options, &status, &stop).await;
    status.clear();
    let result = result?;
    if json {
        println!("{}", serde_json::json!(result));
    } else {
        print!("{}", result.lines());
    }
    Ok(if result.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn again(dir: &Path, json: bool) -> Result<ExitCode, RunError> {
    Ok(show(&report::write(&RunDir::at(dir))?, dir, json))
}

fn joined(args: &JoinArgs, json: bool) -> Result<ExitCode, RunError> {
    let (a, b) = (RunDir::at(&args.a).load()?, RunDir::at(&args.b).load()?);
    // Joining into the folder of a part would overwrite what was measured.
    if [&args.a, &args.b].contains(&&args.out) {
        let why = format!(
            "{} holds one of the parts; choose another --out",
            args.out.display()
        );
        return Err(RawError::Join(why).into());
    }
    let dir = RunDir::save(&args.out, &join(a, b)?)?;
    Ok(show(&report::write(&dir)?, &args.out, json))
}

/// Prints the result; what is not valid is a failure.
fn show(report: &Report, dir: &Path, json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::json!(report));
    } else {
        println!("{}", report::table5_terminal(report));
        println!("{}", report.summary);
        for why in &report.invalid_because {
            println!("NOT VALID: {why}");
        }
        println!("\nThe report: {}", dir.join("report.html").display());
    }
    if report.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The first Ctrl-C or SIGTERM ends the run in good order; the second one ends it at once.
fn stop_on_signals() -> Stop {
    let (stopper, stop) = stop::flag();
    tokio::spawn(async move {
        let signals = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without a handler the system's own stays: the run ends at once.
            return std::future::pending().await;
        };
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                eprintln!("stopped at once; the next run removes the VMs");
                std::process::exit(130);
            }
            eprintln!(
                "stopping: what was measured is reported, VMs are removed (again: stop at once)"
            );
            stopper.stop();
            // `timeout` and some shells send the same signal twice.
            tokio::time::sleep(Duration::from_secs(1)).await;
            while let Some(Some(())) = interrupt.recv().now_or_never() {}
            while let Some(Some(())) = terminate.recv().now_or_never() {}
        }
    });
    stop
}

async fn blocking(
    work: impl FnOnce() -> Result<ExitCode, RunError> + Send + 'static,
) -> Result<ExitCode, RunError> {
    // It fails only if the work panicked, which has told its reason already.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Ok(ExitCode::FAILURE))
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("godwit experiment: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
