//! The fields of `report.json`; `docs/report.md` explains them to its readers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::Profile;
use crate::raw::{AuditInfo, CalibrationStep, HostInfo, Machine};
use crate::records::{MigrationRow, Part};
use crate::report::validity;
use crate::stats::percentile::Spread;

/// Version of the schema; rises when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The whole of `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this schema.
    pub schema: u32,
    /// Version of Godwit that ran the test.
    pub version: String,
    /// Whether the figures can be trusted.
    pub valid: bool,
    /// Why not; empty if valid.
    pub invalid_because: Vec<String>,
    /// Both parts were run to their end.
    pub complete: bool,
    /// The result in plain words.
    pub summary: String,
    /// Name of the profile.
    pub profile: String,
    /// The profile with all overrides.
    pub settings: Profile,
    /// The seed.
    pub seed: u64,
    /// Number of VMs.
    pub vms: u32,
    /// The template the VMs were cloned from.
    pub template: String,
    /// Size of the databases in it.
    pub database: String,
    /// Orders per minute and VM that the clients gave.
    pub orders_per_minute_per_vm: f64,
    /// Steps of the calibration, if the load was given as CPU.
    pub calibration: Vec<CalibrationStep>,
    /// Part 1; `null` if it was not run.
    pub baseline: Option<PartReport>,
    /// Part 2; `null` if it was not run.
    pub migrating: Option<PartReport>,
    /// Orders per minute of part 2 in percent of part 1.
    pub kept_percent: Option<f64>,
    /// Its 95 % confidence interval.
    pub kept_percent_ci95: Option<[f64; 2]>,
    /// Seconds per block of the bootstrap behind it.
    pub bootstrap_block_seconds: usize,
    /// The intervals of part 2.
    pub intervals: Vec<IntervalReport>,
    /// Migrations asked for.
    pub migrations_total: u32,
    /// Those of them that failed.
    pub migrations_failed: u32,
    /// Mean time of a successful migration, from asking to done.
    pub mean_migration_seconds: Option<f64>,
    /// Blackouts of successful migrations as the echo probe saw them.
    pub blackout_ms: BlackoutReport,
    /// CPU per part and host, without generator and probe.
    pub cpu_percent: CpuReport,
    /// Did the databases keep every order?
    pub audit: AuditReport,
    /// Every migration.
    pub migrations: Vec<MoveReport>,
    /// The hosts.
    pub hosts: Vec<HostReport>,
    /// The machine.
    pub machine: Machine,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong but that the other part has not been run yet.
    #[must_use]
    pub fn is_good_half(&self) -> bool {
        let missing = [Part::Baseline, Part::Migrating].map(validity::missing);
        !self.valid && self.invalid_because.iter().all(|why| missing.contains(why))
    }
}

/// One part of the test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// When its measured window began (RFC 3339).
    pub began: String,
    /// Seconds measured.
    pub seconds: f64,
    /// Orders answered per minute, all VMs together.
    pub orders_per_minute: f64,
    /// Orders that fell due in the window.
    pub orders_due: usize,
    /// Orders answered in the window: committed or told "out of stock".
    pub orders_answered: usize,
    /// Those of them that the shop rolled back for want of stock.
    pub orders_rolled_back: usize,
    /// Orders that ended with an error.
    pub orders_failed: usize,
    /// Response times, from due to answered.
    pub response_ms: Spread,
    /// The longest pause between two answers to the clients of one VM, in seconds.
    pub longest_gap_s: Option<f64>,
    /// The longest silence the echo probe met in any VM, in milliseconds.
    pub longest_silence_ms: Option<f64>,
    /// Seconds from the first clone to the last VM answering.
    pub ready_seconds: f64,
    /// The generator and the probe.
    pub generator: GeneratorReport,
}

/// The test's own doing, to be able to distrust it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// Mean CPU of generator and probe together, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// 99 % of the orders were begun with no larger delay than this in milliseconds.
    pub lag_p99_ms: Option<f64>,
    /// The largest delay.
    pub lag_max_ms: Option<f64>,
}

/// One interval of part 2 and the same minutes of part 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalReport {
    /// Its number, from 1.
    pub interval: u32,
    /// Successful migrations planned in it.
    pub migrations: u32,
    /// Failed ones.
    pub migrations_failed: u32,
    /// Mean seconds of the successful ones.
    pub mean_seconds: Option<f64>,
    /// Orders per minute.
    pub orders_per_minute: f64,
    /// Median response time.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the response time.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the response time.
    pub p99_ms: Option<f64>,
    /// Percent of the orders of the same minutes without migration.
    pub kept_percent: Option<f64>,
    /// The same minutes of part 1.
    pub baseline: Option<IntervalBaseline>,
}

/// The same minutes without migration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntervalBaseline {
    /// Orders per minute.
    pub orders_per_minute: f64,
    /// Median response time.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// Blackouts over all successful migrations, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BlackoutReport {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile by nearest rank: of fewer than 100, the largest.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Migrations behind these figures.
    pub count: usize,
    /// Milliseconds between two probes: what these figures can be wrong by.
    pub resolution: u32,
    /// Median of STOP to RESUME as the agents measured it.
    pub stop_to_resume_p50: Option<f64>,
    /// Median of QEMU's own figure.
    pub qemu_p50: Option<f64>,
}

/// Mean CPU of each host in each part, in percent of its cores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuReport {
    /// Part 1, by host.
    pub baseline: BTreeMap<String, f64>,
    /// Part 2, by host.
    pub migrating: BTreeMap<String, f64>,
}

/// Did the databases keep every order?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Every part was audited and found right.
    pub ok: bool,
    /// Confirmed orders that are not in a database.
    pub orders_lost: u64,
    /// Orders in a database twice or never given.
    pub orders_doubled: u64,
    /// Part 1.
    pub baseline: Option<AuditInfo>,
    /// Part 2.
    pub migrating: Option<AuditInfo>,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    /// What the schedule, the manager and the receipt say.
    #[serde(flatten)]
    pub row: MigrationRow,
    /// Seconds it began after its time.
    pub late_s: f64,
    /// The longest silence of the echo probe that touches the switch-over.
    pub blackout_ms: Option<f64>,
    /// The longest silence of the echo probe while it moved, whatever the reason.
    pub longest_silence_ms: Option<f64>,
    /// The slowest order that a client of this VM had under way meanwhile.
    pub slowest_order_ms: Option<f64>,
    /// Orders of this VM that ended with an error meanwhile.
    pub orders_failed: usize,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// What it is.
    #[serde(flatten)]
    pub info: HostInfo,
    /// Its mean CPU without and with migrations.
    pub cpu_percent: HostCpu,
}

/// Mean CPU of one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostCpu {
    /// Part 1.
    pub baseline: Option<f64>,
    /// Part 2.
    pub migrating: Option<f64>,
}
