//! Carries out the test on a farm, as a client of its manager like any other.
//!
//! ```text
//! run ─► calibrate? ─► for each part: prepare ─► measure (moves beside it) ─► audit ─► remove ─► report
//! ```
//! Whatever is measured is on disk within a second ([`writer`]); an interrupted run is reported as
//! far as it got.

pub mod audit;
pub mod calibrate;
pub mod collect;
pub mod error;
pub mod farm;
pub mod load;
pub mod measure;
pub mod mover;
pub mod moves;
pub mod own;
pub mod prepare;
pub mod probe;
pub mod status;
pub mod stop;
pub mod tally;
pub mod time;
pub mod writer;

mod rate;

use std::time::Duration;

use ::time::OffsetDateTime;
use godwit_api::farm::client::FarmClient;
use godwit_dvdstore::load::StoreInfo;

pub use error::RunError;
pub use farm::{Bench, Guest, Options};
pub use status::Status;
pub use stop::{Stop, Stopper};

use crate::raw::{PartInfo, RawError, RunDir, RunInfo};
use crate::records::Part;
use crate::report::{self, Report};
use crate::run::measure::{Measured, Window};
use crate::run::writer::{Entry, Pen, Writer};
use crate::schedule;

/// Runs the test (or the parts asked for) and writes its report.
///
/// # Errors
/// Nothing could be measured. What only spoils the figures is a reason in the report.
pub async fn run(
    client: FarmClient,
    options: &Options,
    status: &Status,
    stop: &Stop,
) -> Result<Report, RunError> {
    options.profile.check()?;
    let punctual = own::be_punctual();
    let bench = Bench::find(client, options).await?;
    let (dir, mut info) = open(options, &bench)?;
    dir.write_info(&info)?;
    if info.orders_per_minute_per_vm <= 0.0 {
        let found = rate::find(&bench, options, status, stop).await?;
        (info.orders_per_minute_per_vm, info.calibration) = found;
    }
    let writer = Writer::start(&dir)?;
    let mut run = Run {
        bench: &bench,
        options,
        status,
        stop,
        info,
        pen: writer.pen(),
    };
    for part in &options.parts {
        let result = run.part(*part).await;
        if let Err(error) = run.settle(*part, result, punctual) {
            drop(run);
            writer.finish()?;
            return Err(error);
        }
        if stop.is_raised() || run.info.parts.iter().any(|p| !p.finished) {
            break;
        }
    }
    drop(run);
    writer.finish()?;
    status.live("writing the report");
    Ok(report::write(&dir)?)
}

/// The folder, and what is known before anything is measured. A single part may join the other one
/// in its folder.
fn open(options: &Options, bench: &Bench) -> Result<(RunDir, RunInfo), RunError> {
    let dir = RunDir::at(&options.out);
    if let ([part], Ok(before)) = (options.parts.as_slice(), dir.read_info())
        && !before.parts.is_empty()
    {
        if before.parts.iter().any(|p| p.part == *part) {
            return Err(RawError::PartExists {
                path: options.out.clone(),
                part: *part,
            }
            .into());
        }
        let load = options.profile.load;
        let same = before.seed == options.seed
            && crate::profile::Profile {
                load,
                ..before.profile.clone()
            } == options.profile;
        if !same {
            let why = "the folder holds a part of another seed or profile".to_owned();
            return Err(RawError::Join(why).into());
        }
        return Ok((dir, before));
    }
    let rate = match options.profile.load {
        crate::profile::Load::OrdersPerMinute(rate) => rate,
        crate::profile::Load::CpuPercent(_) => 0.0,
    };
    let info = RunInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: options.profile.clone(),
        seed: options.seed,
        orders_per_minute_per_vm: rate,
        template: bench.template.clone(),
        database: String::new(),
        calibration: Vec::new(),
        machine: own::machine(),
        hosts: bench.hosts.iter().map(|h| h.info.clone()).collect(),
        vms: farm::guests(options, Part::Baseline)?
            .into_iter()
            .map(|g| g.name)
            .collect(),
        parts: Vec::new(),
    };
    Ok((RunDir::begin_anew(&options.out)?, info))
}

/// A run under way.
struct Run<'a> {
    bench: &'a Bench,
    options: &'a Options,
    status: &'a Status,
    stop: &'a Stop,
    info: RunInfo,
    pen: Pen,
}

impl Run<'_> {
    /// One part from fresh clones to their removal.
    async fn part(&mut self, part: Part) -> Result<(), RunError> {
        let guests = farm::guests(self.options, part)?;
        self.status.step(&format!(
            "{}: {} fresh clones of {}",
            part.word(),
            guests.len(),
            self.bench.template
        ));
        let result = self.part_with(part, &guests).await;
        if !self.options.keep {
            self.status.live("removing the VMs");
            if let Err(error) = prepare::remove(self.bench, &guests).await {
                let why = error.whole();
                let left = format!("{why}; remove the VMs {}-… by hand", self.options.prefix);
                self.status.step(&left);
            }
        }
        result
    }

    async fn part_with(&mut self, part: Part, guests: &[Guest]) -> Result<(), RunError> {
        let made = prepare::make(self.bench, self.options, guests, self.status, self.stop).await?;
        let (store, ready) = made;
        let profile = &self.options.profile;
        self.begin(part, store, ready);
        let window = Window {
            bench: self.bench,
            profile,
            seed: self.options.seed,
            part,
            guests,
            size: store.size,
            rate: self.info.orders_per_minute_per_vm,
            moves: match part {
                Part::Baseline => Vec::new(),
                Part::Migrating => schedule::plan(profile, self.options.seed),
            },
            pen: self.pen.clone(),
            status: self.status,
            stop: self.stop,
        };
        let (info, pen) = (&mut self.info, &self.pen);
        let measured = window
            .measure(|reached_s| {
                if let Some(part) = info.parts.last_mut() {
                    part.reached_s = reached_s;
                }
                pen.write(Entry::Info(Box::new(info.clone())));
            })
            .await?;
        self.end(part, guests, measured).await
    }

    /// The part has fresh VMs and is about to be measured.
    fn begin(&mut self, part: Part, store: StoreInfo, ready: Duration) {
        let (found, asked) = (store.size.to_string(), &self.options.profile.database);
        let mut notes = Vec::new();
        if !found.eq_ignore_ascii_case(asked) {
            notes.push(format!(
                "the databases have {found}; the profile asks for {asked}"
            ));
        }
        self.info.database = found;
        let warmup = ::time::Duration::seconds(i64::from(self.options.profile.warmup_s));
        self.info.parts.push(PartInfo {
            part,
            began: OffsetDateTime::now_utc() + warmup,
            reached_s: 0.0,
            finished: false,
            ready_s: ready.as_secs_f64(),
            audit: None,
            probes: Vec::new(),
            problems: Vec::new(),
            notes,
        });
        self.status.step(&format!(
            "all VMs answer after {:.0} s",
            ready.as_secs_f64()
        ));
    }

    /// The part has been measured: audit it, unless it was interrupted.
    async fn end(
        &mut self,
        part: Part,
        guests: &[Guest],
        measured: Measured,
    ) -> Result<(), RunError> {
        let info = self.info.parts.iter_mut().find(|p| p.part == part);
        let Some(info) = info else { return Ok(()) };
        info.reached_s = measured.reached_s;
        info.finished = measured.finished;
        info.probes = measured.probes;
        info.problems.extend(measured.problems);
        info.notes.extend(measured.notes);
        let audited = self
            .stop
            .or(audit::all(guests, &measured.log, self.status))
            .await;
        match audited {
            Some(Ok(audit)) => info.audit = Some(audit),
            Some(Err(error)) => info.problems.push(error.whole()),
            None => {}
        }
        Ok(())
    }

    /// Writes down how a part ended. An error of the first part is the run's; one of the second
    /// makes the run invalid, but the first part is reported.
    fn settle(
        &mut self,
        part: Part,
        result: Result<(), RunError>,
        punctual: bool,
    ) -> Result<(), RunError> {
        if let Err(error) = result {
            if self.info.parts.is_empty() {
                return Err(error);
            }
            self.status
                .step(&format!("{} part: {}", part.word(), error.whole()));
            match self.info.parts.iter_mut().find(|p| p.part == part) {
                Some(info) => info.problems.push(error.whole()),
                None => self
                    .info
                    .parts
                    .iter_mut()
                    .for_each(|p| p.problems.push(error.whole())),
            }
        }
        if !punctual && let Some(info) = self.info.parts.iter_mut().find(|p| p.part == part) {
            info.notes.push(
                "the generator could not be given priority over the VMs (not root)".to_owned(),
            );
        }
        self.pen.write(Entry::Info(Box::new(self.info.clone())));
        Ok(())
    }
}
