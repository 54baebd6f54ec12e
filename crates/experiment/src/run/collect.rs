//! Gathers what is measured while a part runs and hands it to the [`Writer`](super::writer): the
//! orders from the driver, the silences from the echo probe, the hosts' and the instrument's
//! seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use godwit_api::farm::client::FarmClient;
use godwit_dvdstore::clock::MonotonicNs;
use godwit_dvdstore::driver::Sink;
use godwit_dvdstore::record::{OrderRecord, Outcome as Ended};
use godwit_model::host::HostStats;
use godwit_net::echo::Recording;
use tokio::sync::mpsc;

use crate::records::{GeneratorRow, HostRow, OrderRow, Outcome, Part, SilenceRow};
use crate::run::farm::{Guest, TestHost};
use crate::run::own;
use crate::run::time::{Origin, millis};
use crate::run::writer::{Entry, Pen};

/// Every order of a part, by VM: what the audit compares the databases with.
pub type OrderLog = BTreeMap<String, Vec<OrderRecord>>;

/// Takes orders from the driver.
#[derive(Debug)]
pub struct Orders {
    arrived: mpsc::UnboundedReceiver<OrderRecord>,
    log: OrderLog,
    part: Part,
    origin: Origin,
    pen: Pen,
}

impl Orders {
    /// The collector, and the sink to give to the driver.
    #[must_use]
    pub fn new(part: Part, origin: Origin, pen: Pen) -> (Self, Sink) {
        let (sender, arrived) = mpsc::unbounded_channel();
        let sink: Sink = Arc::new(move |record| {
            // The receiver is gone only when the run is over.
            let _ = sender.send(record);
        });
        (
            Self {
                arrived,
                log: OrderLog::new(),
                part,
                origin,
                pen,
            },
            sink,
        )
    }

    /// Writes down what has arrived.
    pub fn drain(&mut self) {
        let mut rows = Vec::new();
        while let Ok(record) = self.arrived.try_recv() {
            rows.push(order_row(self.part, self.origin, &record));
            self.log
                .entry(record.target.clone())
                .or_default()
                .push(record);
        }
        if !rows.is_empty() {
            self.pen.write(Entry::Orders(rows));
        }
    }

    /// Writes down the last and gives the log away.
    #[must_use]
    pub fn finish(mut self) -> OrderLog {
        self.drain();
        self.log
    }
}

/// An order as it is written down.
#[must_use]
pub fn order_row(part: Part, origin: Origin, record: &OrderRecord) -> OrderRow {
    OrderRow {
        part,
        vm: record.target.clone(),
        number: record.sequence.0,
        due_s: origin.seconds(record.intended),
        start_s: origin.seconds(record.started),
        end_s: origin.seconds(record.ended),
        response_ms: millis(record.latency()),
        service_ms: millis(record.steps.response()),
        lag_ms: millis(record.generator_lag),
        outcome: match record.outcome {
            Ended::Committed { .. } => Outcome::Ok,
            Ended::RolledBack => Outcome::RolledBack,
            Ended::Failed { .. } => Outcome::Failed,
            Ended::Unknown { .. } => Outcome::Unknown,
        },
    }
}

/// Takes silences from the echo probe's recordings, each once.
#[derive(Debug)]
pub struct Silences {
    part: Part,
    origin: Origin,
    pen: Pen,
    written: Vec<usize>,
}

impl Silences {
    /// A collector for that many VMs.
    #[must_use]
    pub fn new(part: Part, origin: Origin, pen: Pen, vms: usize) -> Self {
        Self {
            part,
            origin,
            pen,
            written: vec![0; vms],
        }
    }

    /// Writes down the silences that have ended since the last call; with `last` also those that
    /// go on still.
    pub fn take(&mut self, recording: &Recording, guests: &[Guest], last: bool) {
        let mut rows = Vec::new();
        for (guest, written) in guests.iter().zip(&mut self.written) {
            let Some(target) = recording.target(guest.address) else {
                continue;
            };
            let fresh = target
                .silences
                .iter()
                .skip(*written)
                .take_while(|s| last || !s.open);
            for silence in fresh {
                *written += 1;
                rows.push(SilenceRow {
                    part: self.part,
                    vm: guest.name.clone(),
                    start_s: self.origin.seconds_of(silence.from.0),
                    end_s: self.origin.seconds_of(silence.until.0),
                    silence_ms: millis(silence.length()),
                });
            }
        }
        if !rows.is_empty() {
            self.pen.write(Entry::Silences(rows));
        }
    }
}

/// Watches the CPU that this process takes.
#[derive(Debug)]
pub struct Own {
    part: Part,
    origin: Origin,
    pen: Pen,
    at: Instant,
    cpu: Duration,
    probe_cpu: Duration,
    probe_missed: u64,
}

impl Own {
    /// Begins to watch.
    #[must_use]
    pub fn new(part: Part, origin: Origin, pen: Pen) -> Self {
        let (at, cpu) = (Instant::now(), own::cpu());
        Self {
            part,
            origin,
            pen,
            at,
            cpu,
            probe_cpu: Duration::ZERO,
            probe_missed: 0,
        }
    }

    /// Writes down what was taken since the last call.
    pub fn sample(&mut self, recording: &Recording) {
        let (now, cpu) = (Instant::now(), own::cpu());
        let elapsed = (now - self.at).as_secs_f64().max(1e-3);
        let percent = |d: Duration| 100.0 * d.as_secs_f64() / elapsed;
        self.pen.write(Entry::Generator(GeneratorRow {
            part: self.part,
            t_s: self.origin.seconds(MonotonicNs::now()),
            cpu_percent: percent(cpu.saturating_sub(self.cpu)),
            probe_percent: percent(recording.cpu.saturating_sub(self.probe_cpu)),
            probe_missed: recording.missed_rounds.saturating_sub(self.probe_missed),
        }));
        (self.at, self.cpu) = (now, cpu);
        (self.probe_cpu, self.probe_missed) = (recording.cpu, recording.missed_rounds);
    }
}

/// Asks a host for its figures each second, for ever; a lost answer is a missing second.
pub async fn watch_host(client: FarmClient, host: TestHost, part: Part, origin: Origin, pen: Pen) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before: Option<HostStats> = None;
    loop {
        tick.tick().await;
        let Ok(stats) = client.host_stats(&host.id).await else {
            continue;
        };
        let now = MonotonicNs::now();
        let row = before
            .as_ref()
            .and_then(|before| host_row(&host, before, &stats));
        if let Some(mut row) = row {
            let at = if host.shares_clock { stats.at.0 } else { now.0 };
            (row.part, row.t_s) = (part, origin.seconds_of(at));
            pen.write(Entry::Host(row));
        }
        before = Some(stats);
    }
}

/// What happened between two figures of a host; `None` if they are the same one.
fn host_row(host: &TestHost, before: &HostStats, now: &HostStats) -> Option<HostRow> {
    let seconds = now.at.millis_since(before.at) / 1000.0;
    let card = |stats: &HostStats| {
        let found = stats
            .cards
            .iter()
            .find(|c| Some(&c.name) == host.card.as_ref());
        found.map_or((0, 0), |c| (c.rx.0, c.tx.0))
    };
    let ((rx0, tx0), (rx1, tx1)) = (card(before), card(now));
    (seconds > 0.0).then(|| HostRow {
        part: Part::Baseline,
        t_s: 0.0,
        host: host.info.name.clone(),
        cpu_percent: cpu_percent(host, before, now),
        memory_bytes: now.memory_used.0,
        rx_bytes_per_s: rx1.saturating_sub(rx0) as f64 / seconds,
        tx_bytes_per_s: tx1.saturating_sub(tx0) as f64 / seconds,
    })
}

/// CPU between two figures of a host, in percent of its cores.
#[must_use]
pub fn cpu_percent(host: &TestHost, before: &HostStats, now: &HostStats) -> f64 {
    let seconds = now.at.millis_since(before.at) / 1000.0;
    let used = now.cpu_seconds - before.cpu_seconds;
    if seconds <= 0.0 {
        return 0.0;
    }
    (100.0 * used / seconds / f64::from(host.cores)).clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use godwit_model::host::CardStats;
    use godwit_model::units::{Bytes, MonoNs};

    use super::*;
    use crate::raw::HostInfo;

    fn stats(at_s: u64, cpu_seconds: f64, rx: u64) -> HostStats {
        HostStats {
            at: MonoNs(at_s * 1_000_000_000),
            cpu_seconds,
            cpu_percent: 0.0,
            memory_used: Bytes(7),
            cards: vec![
                CardStats {
                    name: "eth0".into(),
                    rx: Bytes(0),
                    tx: Bytes(0),
                },
                CardStats {
                    name: "eth1".into(),
                    rx: Bytes(rx),
                    tx: Bytes(2 * rx),
                },
            ],
            vms: Vec::new(),
        }
    }

    #[test]
    fn figures_between_two_samples() {
        let host = TestHost {
            id: "blade1".parse().unwrap(),
            cores: 2,
            shares_clock: true,
            card: Some("eth1".into()),
            info: HostInfo {
                name: "blade1".into(),
                ..HostInfo::default()
            },
        };
        let (before, now) = (stats(10, 4.0, 1000), stats(12, 6.0, 3000));
        let row = host_row(&host, &before, &now).unwrap();
        assert!((row.cpu_percent - 50.0).abs() < 1e-9);
        assert!((row.rx_bytes_per_s - 1000.0).abs() < 1e-9);
        assert!((row.tx_bytes_per_s - 2000.0).abs() < 1e-9);
        assert_eq!(host_row(&host, &now, &now), None);
    }
}
