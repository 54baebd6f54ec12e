//! One measured window: warm-up, orders and probes on all VMs, figures each second, and in part 2
//! the migrations; written down as it happens.

use std::time::Duration;

use godwit_api::farm::EchoReport;
use godwit_dvdstore::Size;
use godwit_dvdstore::clock::MonotonicNs;
use godwit_dvdstore::driver::{self, Driver};
use godwit_model::units::MonoNs;
use godwit_net::echo::{Prober, Recording};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::profile::Profile;
use crate::raw::ProbeInfo;
use crate::records::{MigrationRow, MoveOutcome, Part};
use crate::run::collect::{self, OrderLog, Orders, Own, Silences};
use crate::run::error::RunError;
use crate::run::farm::{Bench, Guest};
use crate::run::load;
use crate::run::mover::FarmMover;
use crate::run::moves::{self, Names, Seen};
use crate::run::probe;
use crate::run::status::Status;
use crate::run::stop::Stop;
use crate::run::tally::Tally;
use crate::run::time::{Origin, millis};
use crate::run::writer::{Entry, Pen};
use crate::schedule::Move;
use crate::stats::blackout;

/// A migration's blackout is told to the manager that long after its end; until then its VM is probed closely.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug)]
pub struct Window<'a> {
    /// The farm.
    pub bench: &'a Bench,
    /// What is run.
    pub profile: &'a Profile,
    /// Seed of the orders.
    pub seed: u64,
    /// Which part it is.
    pub part: Part,
    /// The VMs.
    pub guests: &'a [Guest],
    /// Size of their databases.
    pub size: Size,
    /// Orders per minute and VM.
    pub rate: f64,
    /// The migrations to make; none in part 1.
    pub moves: Vec<Move>,
    /// Where things are written down.
    pub pen: Pen,
    /// Where a person looks.
    pub status: &'a Status,
    /// Ends it early.
    pub stop: &'a Stop,
}

/// What came of it, beside what was written down.
#[derive(Debug)]
pub struct Measured {
    /// Seconds of the window that were measured.
    pub reached_s: f64,
    /// The window was measured to its end.
    pub finished: bool,
    /// Every order.
    pub log: OrderLog,
    /// What the echo probe saw.
    pub probes: Vec<ProbeInfo>,
    /// What makes the run invalid.
    pub problems: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Everything that watches while a window is measured.
struct Instruments {
    origin: Origin,
    driver: Driver,
    prober: Prober,
    orders: Orders,
    silences: Silences,
    own: Own,
    /// Ends with this value.
    watchers: JoinSet<()>,
}

impl Instruments {
    fn start(window: &Window<'_>) -> Result<Self, RunError> {
        let prober = probe::start(window.guests, window.profile)?;
        let origin = Origin::after(Duration::from_secs(u64::from(window.profile.warmup_s)));
        let (part, pen) = (window.part, &window.pen);
        let (orders, sink) = Orders::new(part, origin, pen.clone());
        let targets = window
            .guests
            .iter()
            .map(|g| load::target(g, window.size))
            .collect();
        let config = load::config(window.profile, window.seed, window.rate);
        let driver = driver::start(targets, config, sink);
        let mut watchers = JoinSet::new();
        for host in window.bench.hosts.clone() {
            let client = window.bench.client.clone();
            watchers.spawn(collect::watch_host(client, host, part, origin, pen.clone()));
        }
        Ok(Self {
            origin,
            driver,
            prober,
            orders,
            silences: Silences::new(part, origin, pen.clone(), window.guests.len()),
            own: Own::new(part, origin, pen.clone()),
            watchers,
        })
    }

    fn second(&mut self, guests: &[Guest]) -> Recording {
        let recording = self.prober.recording();
        self.orders.drain();
        self.silences.take(&recording, guests, false);
        self.own.sample(&recording);
        recording
    }
}

impl Window<'_> {
    /// Measures. `reached` is told each second how far the window is.
    ///
    /// # Errors
    /// The echo probe cannot run.
    pub async fn measure(&self, mut reached: impl FnMut(f64)) -> Result<Measured, RunError> {
        let mut watch = Instruments::start(self)?;
        let (origin, window) = (watch.origin, f64::from(self.profile.window_s()));
        let mut migrations = self.start_moves(origin);
        let mut tally = Tally {
            planned: self.moves.len(),
            ..Tally::default()
        };
        let (mut to_tell, mut moving) = (Vec::new(), true);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                event = migrations.recv(), if moving => match event {
                    Some(event) => {
                        self.probe_closely(&watch.prober, &event);
                        self.note_move(event, &mut tally, &mut to_tell);
                    }
                    None => moving = false,
                },
                _ = tick.tick() => {
                    let recording = watch.second(self.guests);
                    self.tell_blackouts(&recording, origin, &mut tally, &mut to_tell, false);
                    self.relax(&watch.prober, &tally, &to_tell);
                    let now = origin.seconds(MonotonicNs::now());
                    reached(now.clamp(0.0, window));
                    self.show(&watch.driver, &tally, now);
                    // A migration under way is waited for: its VM's orders belong to the audit.
                    if (now >= window || self.stop.is_raised()) && !moving {
                        break;
                    }
                }
            }
        }
        Ok(self.end(watch, tally, to_tell).await)
    }

    async fn end(
        &self,
        mut watch: Instruments,
        mut tally: Tally,
        mut to_tell: Vec<MigrationRow>,
    ) -> Measured {
        let window = f64::from(self.profile.window_s());
        let reached_s = watch.origin.seconds(MonotonicNs::now()).clamp(0.0, window);
        self.status.live("the last orders end");
        watch.driver.stop_handle().stop();
        let report = watch.driver.finished().await;
        drop(watch.watchers);
        let recording = watch.prober.stop();
        watch.silences.take(&recording, self.guests, true);
        self.tell_blackouts(&recording, watch.origin, &mut tally, &mut to_tell, true);
        let (probes, problems) = self.judge(&recording);
        Measured {
            reached_s,
            finished: reached_s >= window,
            log: watch.orders.finish(),
            probes,
            problems,
            notes: load::errors_note(&report.total).into_iter().collect(),
        }
    }

    /// Carries out the schedule beside the measurement; the channel closes after the last move.
    fn start_moves(&self, origin: Origin) -> mpsc::UnboundedReceiver<MoveEvent> {
        let (events, receiver) = mpsc::unbounded_channel();
        let names = Names {
            vms: self.guests.iter().map(|g| g.name.clone()).collect(),
            hosts: self.bench.hosts.clone().map(|h| h.info.name),
            one_clock: self.bench.hosts.iter().all(|h| h.shares_clock),
        };
        let mover = FarmMover::new(self.bench, &names);
        let (plan, stop) = (self.moves.clone(), self.stop.clone());
        let window = f64::from(self.profile.window_s());
        tokio::spawn(async move {
            moves::make(&mover, &plan, &names, origin, window, &stop, |seen| {
                let event = match seen {
                    Seen::Starts(vm) => MoveEvent::Starts(vm.to_owned()),
                    Seen::Ended(row) => MoveEvent::Ended(Box::new(row.clone())),
                };
                // The receiver is gone only when the measurement failed.
                let _ = events.send(event);
            })
            .await;
        });
        receiver
    }

    fn note_move(&self, event: MoveEvent, tally: &mut Tally, to_tell: &mut Vec<MigrationRow>) {
        let row = match event {
            MoveEvent::Starts(vm) => {
                tally.moving = Some(vm);
                return;
            }
            MoveEvent::Ended(row) => row,
        };
        tally.note(&row);
        match row.outcome {
            MoveOutcome::Ok => to_tell.push((*row).clone()),
            MoveOutcome::Failed => {
                let why = format!("migration of {} failed: {}", row.vm, row.error);
                self.status.step(&why);
            }
            MoveOutcome::NotStarted => {}
        }
        self.pen.write(Entry::Migration(row));
    }

    /// A VM that starts to move is probed closely.
    fn probe_closely(&self, prober: &Prober, event: &MoveEvent) {
        let MoveEvent::Starts(vm) = event else {
            return;
        };
        if let Some(guest) = self.guests.iter().find(|guest| guest.name == *vm) {
            prober.watch_closely(guest.address, true);
        }
    }

    /// VMs that neither move nor have just moved are probed rarely.
    fn relax(&self, prober: &Prober, tally: &Tally, to_tell: &[MigrationRow]) {
        let busy = |guest: &Guest| {
            tally.moving.as_ref() == Some(&guest.name)
                || to_tell.iter().any(|row| row.vm == guest.name)
        };
        for guest in self.guests.iter().filter(|guest| !busy(guest)) {
            prober.watch_closely(guest.address, false);
        }
    }

    /// Puts the blackouts of migrations that ended a moment ago into their receipts.
    fn tell_blackouts(
        &self,
        recording: &Recording,
        origin: Origin,
        tally: &mut Tally,
        to_tell: &mut Vec<MigrationRow>,
        all: bool,
    ) {
        let now = origin.seconds(MonotonicNs::now());
        to_tell.retain(|row| {
            let ripe = all || now >= row.end_s + AFTERMATH.as_secs_f64();
            if ripe {
                tally.last_blackout_ms = self.tell_blackout(recording, origin, row);
            }
            !ripe
        });
    }

    fn tell_blackout(
        &self,
        recording: &Recording,
        origin: Origin,
        row: &MigrationRow,
    ) -> Option<f64> {
        let guest = self.guests.iter().find(|g| g.name == row.vm)?;
        let target = recording.target(guest.address).filter(|t| t.answered > 0)?;
        let at = |seconds: f64| MonoNs(origin.nanos_at(seconds));
        let (from, to) = blackout::window(row);
        let silence = target.longest_between(at(from), at(to));
        let blackout_ms = silence.map_or(0.0, |s| millis(s.length()));
        if let Ok(id) = row.id.parse() {
            let client = self.bench.client.clone();
            // For the receipt's readers; the run has its own record of it.
            tokio::spawn(async move { client.report_echo(id, EchoReport { blackout_ms }).await });
        }
        Some(blackout_ms)
    }

    fn show(&self, driver: &Driver, tally: &Tally, now: f64) {
        let phase = if now < 0.0 {
            "warm-up"
        } else {
            self.part.word()
        };
        let left = f64::from(self.profile.window_s()) - now;
        let progress = driver.progress();
        let line = tally.line(phase, left, &progress.borrow());
        self.status.live(&line);
    }

    fn judge(&self, recording: &Recording) -> (Vec<ProbeInfo>, Vec<String>) {
        let mut problems = Vec::new();
        let mut probes = Vec::new();
        for guest in self.guests {
            let Some(target) = recording.target(guest.address) else {
                continue;
            };
            if target.answered == 0 {
                problems.push(format!("{} never answered the echo probe", guest.name));
            }
            probes.push(ProbeInfo {
                vm: guest.name.clone(),
                sent: target.sent,
                answered: target.answered,
                rtt_p50_ms: (target.answered > 0).then(|| millis(target.round_trip_p50)),
            });
        }
        (probes, problems)
    }
}

enum MoveEvent {
    Starts(String),
    Ended(Box<MigrationRow>),
}
