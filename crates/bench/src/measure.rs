//! The meters, the same for all engines. What each figure of a [`Sample`] means is told where it stands.
//!
//! ```text
//!  control window      move                              aftermath
//! |──── 2 s ────|── start, precopy ──|STOP blackout RESUME|── 2 s ──|
//!   card: rate of        card: all it carries, less the      echo probe: the silence
//!   everything else      control window's rate                that touches STOP…RESUME
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use godwit_model::units::MonoNs;
use godwit_net::clock::{now, plus};
use godwit_net::echo::{self, Prober};
use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::lab::{Card, Lab};
use crate::options::Identity;
use crate::plan::{Engine, Link, Load, Side, Visit};
use crate::stop::Stop;

/// How long the card is watched before a move.
const CONTROL: Duration = Duration::from_secs(2);
/// How long a VM is probed closely after its arrival.
const AFTERMATH: Duration = Duration::from_secs(2);
/// By how much a silence may miss STOP and RESUME: the probe's rhythm.
const NEAR: Duration = Duration::from_millis(50);
/// Time between two probes into a VM that moves.
const PROBE: Duration = Duration::from_millis(5);
/// Into the others one goes each so many intervals.
const RELAXED: u32 = 20;

/// What whoever moved a VM knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// When the move was asked for.
    pub began: MonoNs,
    /// When memory began to be sent.
    pub sending: Option<MonoNs>,
    /// The source's STOP.
    pub stopped: MonoNs,
    /// The destination's RESUME.
    pub resumed: MonoNs,
    /// From STOP to RESUME by QEMU's own times.
    pub stop_resume_ms: f64,
    /// QEMU's own downtime.
    pub downtime_ms: Option<f64>,
    /// CPU seconds of both QEMUs outside their vCPU threads, and of relays, during the move; the destination's from its
    /// start on.
    pub cpu_seconds: f64,
    /// CPU seconds of the agents and keepers of both hosts during the move, if it needs them.
    pub agents_cpu_seconds: Option<f64>,
    /// Bytes of QEMU's stream (stock QEMU: pages that are not zero), before anything reduced it.
    pub stream_bytes: Option<u64>,
    /// Bytes that the destination read from the datastore for it.
    pub datastore_bytes: Option<u64>,
    /// Passes over the memory.
    pub rounds: Option<u64>,
    /// How the pages travelled, in bytes of memory by kind.
    pub kinds: Option<BTreeMap<String, u64>>,
}

/// One move, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How it moved.
    pub engine: Engine,
    /// What the destination knew of it; none: not to be compared with the others.
    pub visit: Option<Visit>,
    /// What kept it busy.
    pub load: Load,
    /// Over which link.
    pub link: Link,
    /// Which VM.
    pub vm: String,
    /// Where to.
    pub to: Side,
    /// When it was asked for and when it ran there, in nanoseconds of the machine's monotonic clock.
    pub window: (u64, u64),
    /// Bytes sent by the source's shared card, less what the control window lets expect of everything else. Counted at
    /// the card, above segmentation: one header for up to 64 KiB, for all engines alike.
    pub bytes: f64,
    /// Bytes received by that card, likewise: answers, acknowledgements.
    pub bytes_back: f64,
    /// What everything else sent over that card before, in bytes per second.
    pub background_bytes_per_second: f64,
    /// Seconds from the request to RESUME; starting the destination's QEMU is part of it.
    pub seconds: f64,
    /// Of these, from the first byte of memory on.
    pub transfer_seconds: Option<f64>,
    /// See [`Facts::downtime_ms`].
    pub downtime_ms: Option<f64>,
    /// See [`Facts::stop_resume_ms`].
    pub stop_resume_ms: f64,
    /// The longest silence that touches the stretch from STOP to RESUME, as the echo probe (one each 5 ms, from the
    /// machine) saw it; 0: nothing was lost.
    pub client_blackout_ms: Option<f64>,
    /// See [`Facts::cpu_seconds`].
    pub cpu_seconds: f64,
    /// See [`Facts::agents_cpu_seconds`].
    pub agents_cpu_seconds: Option<f64>,
    /// See [`Facts::stream_bytes`].
    pub stream_bytes: Option<u64>,
    /// See [`Facts::datastore_bytes`].
    pub datastore_bytes: Option<u64>,
    /// See [`Facts::rounds`].
    pub rounds: Option<u64>,
    /// How busy all cores of the machine were in the control window, in percent: much more than the load explains
    /// tells of a neighbour that disturbed the move.
    pub busy_before_percent: f64,
    /// Orders that fell due from the request to some seconds after RESUME.
    pub orders_offered: u64,
    /// Of these, those answered in time (see `load`).
    pub orders_kept: u64,
    /// See [`Facts::kinds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeMap<String, u64>>,
}

/// What is known of a move beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Intent {
    /// How.
    pub engine: Engine,
    /// What the destination knows.
    pub visit: Option<Visit>,
    /// What keeps the VM busy.
    pub load: Load,
    /// From where.
    pub from: Side,
}

/// The meters of a stage.
pub struct Meter<'a> {
    lab: &'a Lab,
    prober: Prober,
}

/// A move under way.
pub struct Begun {
    before: Card,
    rate: (f64, f64),
    at: MonoNs,
    busy_percent: f64,
}

impl<'a> Meter<'a> {
    /// Begins to probe the VMs.
    ///
    /// # Errors
    /// The probe cannot run.
    pub fn start(lab: &'a Lab, identities: &[Identity]) -> Result<Self, BenchError> {
        let addresses: Vec<_> = identities.iter().map(|one| one.address).collect();
        let options = echo::Options {
            interval: PROBE,
            relaxed: RELAXED,
            threshold: PROBE,
        };
        let prober = Prober::start(&addresses, options)?;
        Ok(Self { lab, prober })
    }

    /// The control window. The move begins when this returns.
    ///
    /// # Errors
    /// Interrupted, or the lab is gone.
    pub async fn begin(&self, vm: &Identity, from: Side, stop: &Stop) -> Result<Begun, BenchError> {
        self.prober.watch_closely(vm.address, true);
        let (first, since, idle) = (self.lab.card(from)?, now(), Ticks::now());
        stop.sleep(CONTROL).await?;
        let (before, at) = (self.lab.card(from)?, now());
        let seconds = at.millis_since(since) / 1e3;
        let rate = |a: u64, b: u64| b.saturating_sub(a) as f64 / seconds;
        Ok(Begun {
            rate: (
                rate(first.sent, before.sent),
                rate(first.received, before.received),
            ),
            busy_percent: Ticks::now().busy_percent_since(idle),
            before,
            at,
        })
    }

    /// The move has ended.
    ///
    /// # Errors
    /// Interrupted, or the lab is gone.
    pub async fn end(
        &self,
        vm: &Identity,
        begun: Begun,
        intent: Intent,
        facts: Facts,
        stop: &Stop,
    ) -> Result<Sample, BenchError> {
        let (after, ended) = (self.lab.card(intent.from)?, now());
        stop.sleep(AFTERMATH).await?;
        let blackout = self.blackout(vm, &facts);
        self.prober.watch_closely(vm.address, false);
        let seconds = ended.millis_since(begun.at) / 1e3;
        let net =
            |a: u64, b: u64, rate: f64| (b.saturating_sub(a) as f64 - rate * seconds).max(0.0);
        let since = |moment: MonoNs| facts.resumed.millis_since(moment) / 1e3;
        Ok(Sample {
            engine: intent.engine,
            visit: intent.visit,
            load: intent.load,
            link: self.lab.link(),
            vm: vm.name.clone(),
            to: intent.from.other(),
            window: (facts.began.0, facts.resumed.0),
            bytes: net(begun.before.sent, after.sent, begun.rate.0),
            bytes_back: net(begun.before.received, after.received, begun.rate.1),
            background_bytes_per_second: begun.rate.0,
            seconds: since(facts.began),
            transfer_seconds: facts.sending.map(since),
            downtime_ms: facts.downtime_ms,
            stop_resume_ms: facts.stop_resume_ms,
            client_blackout_ms: blackout,
            cpu_seconds: facts.cpu_seconds,
            agents_cpu_seconds: facts.agents_cpu_seconds,
            stream_bytes: facts.stream_bytes,
            datastore_bytes: facts.datastore_bytes,
            rounds: facts.rounds,
            busy_before_percent: begun.busy_percent,
            orders_offered: 0,
            orders_kept: 0,
            kinds: facts.kinds,
        })
    }

    fn blackout(&self, vm: &Identity, facts: &Facts) -> Option<f64> {
        let recording = self.prober.recording();
        let target = recording.target(vm.address)?;
        target.first_reply?;
        let near = u64::try_from(NEAR.as_nanos()).unwrap_or_default();
        let from = MonoNs(facts.stopped.0.saturating_sub(near));
        let silence = target.longest_between(from, plus(facts.resumed, NEAR));
        Some(silence.map_or(0.0, |silence| silence.length().as_secs_f64() * 1e3))
    }
}

/// What all cores of the machine did since it was started, in clock ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Self {
        Self::of(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// proc(5): `cpu user nice system idle iowait irq softirq steal guest …`; guest time is part of user.
    fn of(text: &str) -> Self {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
        let figures = line.unwrap_or_default().split_whitespace();
        let figures: Vec<u64> = figures
            .filter_map(|figure| figure.parse().ok())
            .take(8)
            .collect();
        Self {
            idle: figures.iter().skip(3).take(2).sum(),
            all: figures.iter().sum(),
        }
    }

    fn busy_percent_since(self, earlier: Self) -> f64 {
        let (idle, all) = (
            self.idle.saturating_sub(earlier.idle),
            self.all.saturating_sub(earlier.all),
        );
        if all == 0 {
            return 0.0;
        }
        all.saturating_sub(idle) as f64 / all as f64 * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_not_being_busy() {
        let earlier = Ticks::of("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 2 3 4\n");
        let later = Ticks::of("cpu  130 0 70 840 60 0 0 0 9 9\n");
        assert_eq!(later.busy_percent_since(earlier), 50.0);
        assert_eq!(Ticks::of("").busy_percent_since(Ticks::default()), 0.0);
    }
}
