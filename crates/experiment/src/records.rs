//! What is written down while a run is measured, one row type per CSV file.
//!
//! All times are seconds on the run's one monotonic clock, counted from the start of the part's
//! measured window; the warm-up has negative times. Rows are only ever appended.

use serde::{Deserialize, Serialize};

/// The two parts of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// No migrations.
    Baseline,
    /// The same orders, with migrations.
    Migrating,
}

impl Part {
    /// The word used in files and on screen.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Migrating => "migrating",
        }
    }
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Committed.
    Ok,
    /// Rolled back by the shop because stock was short; an order like any other to the client.
    RolledBack,
    /// The client got an error.
    Failed,
    /// The connection broke while the commit was under way; the audit tells what became of it.
    Unknown,
}

impl Outcome {
    /// Whether the client got its answer (a sale or "out of stock").
    #[must_use]
    pub fn answered(self) -> bool {
        matches!(self, Self::Ok | Self::RolledBack)
    }
}

/// A row of `orders.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The part.
    pub part: Part,
    /// Name of the VM.
    pub vm: String,
    /// The order's number in its VM's script.
    pub number: u64,
    /// When it fell due.
    pub due_s: f64,
    /// When the client began it.
    pub start_s: f64,
    /// When it ended.
    pub end_s: f64,
    /// From due to end: what a customer waits.
    pub response_ms: f64,
    /// Sum of its database calls: what the paper calls response time.
    pub service_ms: f64,
    /// How late the generator itself began it; waiting for a free connection is not in it.
    pub lag_ms: f64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveOutcome {
    /// The VM runs on its new host.
    Ok,
    /// It runs on its old host, or nothing is known.
    Failed,
    /// The window ended before its turn came.
    NotStarted,
}

/// A row of `migrations.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationRow {
    /// Its number in the schedule, from 1.
    pub number: u32,
    /// Its interval, from 1 as in the paper's table.
    pub interval: u32,
    /// The manager's id of it, as far as known.
    pub id: String,
    /// Name of the VM.
    pub vm: String,
    /// Host it left.
    pub from: String,
    /// Host it went to.
    pub to: String,
    /// When the schedule has it.
    pub planned_s: f64,
    /// When it was asked for.
    pub start_s: f64,
    /// When the manager called it done.
    pub end_s: f64,
    /// From asking to done, in seconds.
    pub seconds: f64,
    /// How it ended.
    pub outcome: MoveOutcome,
    /// The manager's reason, if it failed.
    pub error: String,
    /// When the VM ran on its new host, where the hosts' clock is the run's.
    pub resume_s: Option<f64>,
    /// Source's STOP to destination's RESUME, in milliseconds.
    pub stop_to_resume_ms: Option<f64>,
    /// Bound of the error of the clock behind it, in milliseconds.
    pub clock_error_ms: Option<f64>,
    /// QEMU's own figure, in milliseconds.
    pub qemu_downtime_ms: Option<f64>,
    /// Bytes of QEMU's stream.
    pub stream_bytes: Option<u64>,
    /// Bytes on the wire after reduction.
    pub wire_bytes: Option<u64>,
    /// Rounds over the memory.
    pub rounds: Option<u32>,
    /// CPU seconds spent at the source.
    pub cpu_source_s: Option<f64>,
    /// CPU seconds spent at the destination.
    pub cpu_destination_s: Option<f64>,
    /// Milliseconds until the destination was ready.
    pub prepare_ms: Option<f64>,
    /// Milliseconds of copying while the VM ran.
    pub precopy_ms: Option<f64>,
    /// Milliseconds from the destination's RESUME until all was tidied up.
    pub cleanup_ms: Option<f64>,
}

impl MigrationRow {
    /// A planned move of which nothing is known yet.
    #[must_use]
    pub fn planned(one: &crate::schedule::Move, vm: &str, from: &str, to: &str) -> Self {
        Self {
            number: one.number,
            interval: one.interval + 1,
            id: String::new(),
            vm: vm.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            planned_s: one.at_s,
            start_s: one.at_s,
            end_s: one.at_s,
            seconds: 0.0,
            outcome: MoveOutcome::NotStarted,
            error: String::new(),
            resume_s: None,
            stop_to_resume_ms: None,
            clock_error_ms: None,
            qemu_downtime_ms: None,
            stream_bytes: None,
            wire_bytes: None,
            rounds: None,
            cpu_source_s: None,
            cpu_destination_s: None,
            prepare_ms: None,
            precopy_ms: None,
            cleanup_ms: None,
        }
    }
}

/// A row of `hosts.csv`: one host in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    /// The part.
    pub part: Part,
    /// When it was read.
    pub t_s: f64,
    /// Name of the host.
    pub host: String,
    /// Busy share of the host's cores, in percent; without the generator and the probe.
    pub cpu_percent: f64,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// Bytes received per second on the card that VMs and migrations share.
    pub rx_bytes_per_s: f64,
    /// Bytes sent per second on that card.
    pub tx_bytes_per_s: f64,
}

/// A row of `silences.csv`: a stretch without an answer to the echo probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceRow {
    /// The part.
    pub part: Part,
    /// Name of the VM.
    pub vm: String,
    /// When the last answer before it came.
    pub start_s: f64,
    /// When the first answer after it came.
    pub end_s: f64,
    /// Its length beyond the pause that the probe's own rhythm explains, in milliseconds.
    pub silence_ms: f64,
}

/// A row of `generator.csv`: the test's own doing in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneratorRow {
    /// The part.
    pub part: Part,
    /// When it was read.
    pub t_s: f64,
    /// CPU of the whole process, generator and probe, in percent of one core.
    pub cpu_percent: f64,
    /// The echo probe's part of it.
    pub probe_percent: f64,
    /// Rounds that the echo probe left out because it was held up.
    pub probe_missed: u64,
}
