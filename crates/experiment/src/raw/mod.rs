//! The raw data of a run: `run.json` says what was run and how far it got, CSV files hold what was
//! measured. They are appended while the run goes on, so a run that is interrupted, or that
//! crashes, can be reported as far as it got. [`join()`] makes one run of two parts run apart.

mod folder;
mod join;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use folder::{Appender, Journal, RunDir};
pub use join::join;

use crate::profile::Profile;
use crate::records::{GeneratorRow, HostRow, MigrationRow, OrderRow, Part, SilenceRow};

/// What was run, by whom it was carried, and how far it got: `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of Godwit.
    pub version: String,
    /// What was to be run.
    pub profile: Profile,
    /// The seed of orders, schedule and bootstrap.
    pub seed: u64,
    /// Orders per minute and VM, after calibration.
    pub orders_per_minute_per_vm: f64,
    /// The template the VMs were cloned from.
    pub template: String,
    /// Size of the databases in it.
    pub database: String,
    /// The steps that found this rate, if it was calibrated.
    pub calibration: Vec<CalibrationStep>,
    /// The machine the farm and the generator ran on.
    pub machine: Machine,
    /// The two hosts.
    pub hosts: Vec<HostInfo>,
    /// Names of the VMs.
    pub vms: Vec<String>,
    /// The parts run so far.
    pub parts: Vec<PartInfo>,
}

/// One step of the calibration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationStep {
    /// Orders per minute and VM.
    pub orders_per_minute_per_vm: f64,
    /// Mean CPU of the hosts at that rate.
    pub cpu_percent: f64,
}

/// The machine the test ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the CPU.
    pub cpu: String,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system.
    pub system: String,
    /// Kernel.
    pub kernel: String,
}

/// One of the two hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Its name.
    pub name: String,
    /// Cores it has to itself, as far as known.
    pub cores: f64,
    /// QEMU's version.
    pub qemu: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
}

/// One part of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Which.
    pub part: Part,
    /// When its measured window began, by the wall clock.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// Seconds of the measured window that have been measured.
    pub reached_s: f64,
    /// Whether the window was measured to its end.
    pub finished: bool,
    /// Seconds from the first clone to the last VM answering queries.
    pub ready_s: f64,
    /// What the audit of the databases found; `None` if it did not come to that.
    pub audit: Option<AuditInfo>,
    /// The echo probe, VM by VM.
    pub probes: Vec<ProbeInfo>,
    /// What makes the run invalid, found while it ran.
    pub problems: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What the audit found, all databases together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditInfo {
    /// All databases agree with what the clients were told.
    pub ok: bool,
    /// Orders whose commit was confirmed, but which are not in the database.
    pub orders_lost: u64,
    /// Orders that are in the database twice or that no client gave.
    pub orders_doubled: u64,
    /// Orders the clients saw committed.
    pub orders_confirmed: u64,
    /// Differences in words.
    pub differences: Vec<String>,
}

/// What the echo probe of one VM saw in the measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeInfo {
    /// Name of the VM.
    pub vm: String,
    /// Probes sent.
    pub sent: u64,
    /// Probes answered.
    pub answered: u64,
    /// Median round trip in milliseconds.
    pub rtt_p50_ms: Option<f64>,
}

/// Everything of a run, read back from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// `run.json`.
    pub info: RunInfo,
    /// `orders.csv`.
    pub orders: Vec<OrderRow>,
    /// `migrations.csv`.
    pub migrations: Vec<MigrationRow>,
    /// `hosts.csv`.
    pub hosts: Vec<HostRow>,
    /// `silences.csv`.
    pub silences: Vec<SilenceRow>,
    /// `generator.csv`.
    pub generator: Vec<GeneratorRow>,
}

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Reading or writing failed.
    #[error("cannot use {path}: check that it exists and can be written", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is not what a run writes; use a folder made by `godwit experiment run`", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two runs do not belong together.
    #[error(
        "these runs cannot be joined: {0}; join a baseline and a migrations part of one seed and profile"
    )]
    Join(String),
    /// The folder holds this part already.
    #[error("{path} already holds the part {part:?}; choose another folder, or run both parts to begin anew", path = path.display())]
    PartExists {
        /// The folder.
        path: PathBuf,
        /// The part.
        part: Part,
    },
}
