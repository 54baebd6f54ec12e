//! The folder of a run: `run.json` says what was run and how far it got, CSV files hold what was
//! measured. They are appended while the run goes on, so a run that is interrupted, or that
//! crashes, can be reported as far as it got. [`join`] makes one run of two parts run apart.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

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

const INFO: &str = "run.json";
const ORDERS: &str = "orders.csv";
const MIGRATIONS: &str = "migrations.csv";
const HOSTS: &str = "hosts.csv";
const SILENCES: &str = "silences.csv";
const GENERATOR: &str = "generator.csv";
/// All raw files; what a new run replaces.
const RAW_FILES: [&str; 6] = [INFO, ORDERS, MIGRATIONS, HOSTS, SILENCES, GENERATOR];

/// The folder of a run.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Uses an existing folder.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder for a whole run, replacing the raw files of an earlier one.
    ///
    /// # Errors
    /// The folder cannot be made or cleared.
    pub fn begin_anew(path: impl Into<PathBuf>) -> Result<Self, RawError> {
        let dir = Self::at(path);
        std::fs::create_dir_all(&dir.path).map_err(|e| io_error(&dir.path, e))?;
        for name in RAW_FILES {
            let file = dir.file(name);
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(&file, e)),
                _ => {}
            }
        }
        Ok(dir)
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `run.json` so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_info(&self, info: &RunInfo) -> Result<(), RawError> {
        let mut text =
            serde_json::to_string_pretty(info).map_err(|e| format_error(&self.file(INFO), e))?;
        text.push('\n');
        self.write(INFO, &text)
    }

    /// Writes a file of the folder so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RawError> {
        let (file, part) = (self.file(name), self.file(&format!(".{name}.part")));
        std::fs::write(&part, text).map_err(|e| io_error(&part, e))?;
        std::fs::rename(&part, &file).map_err(|e| io_error(&file, e))
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// It is missing or not a run's.
    pub fn read_info(&self) -> Result<RunInfo, RawError> {
        let file = self.file(INFO);
        let text = std::fs::read_to_string(&file).map_err(|e| io_error(&file, e))?;
        serde_json::from_str(&text).map_err(|e| format_error(&file, e))
    }

    /// Opens the CSV files to append to.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn journal(&self) -> Result<Journal, RawError> {
        Ok(Journal {
            orders: Appender::open(self.file(ORDERS))?,
            migrations: Appender::open(self.file(MIGRATIONS))?,
            hosts: Appender::open(self.file(HOSTS))?,
            silences: Appender::open(self.file(SILENCES))?,
            generator: Appender::open(self.file(GENERATOR))?,
        })
    }

    /// Reads everything back. A torn last line, as a crash leaves it, is left out.
    ///
    /// # Errors
    /// A file is unreadable or not a run's.
    pub fn load(&self) -> Result<Run, RawError> {
        Ok(Run {
            info: self.read_info()?,
            orders: read_csv(&self.file(ORDERS))?,
            migrations: read_csv(&self.file(MIGRATIONS))?,
            hosts: read_csv(&self.file(HOSTS))?,
            silences: read_csv(&self.file(SILENCES))?,
            generator: read_csv(&self.file(GENERATOR))?,
        })
    }

    /// Writes a whole run, replacing what the folder holds of an earlier one.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(path: impl Into<PathBuf>, run: &Run) -> Result<Self, RawError> {
        let dir = Self::begin_anew(path)?;
        let mut journal = dir.journal()?;
        journal.orders.append(&run.orders)?;
        journal.migrations.append(&run.migrations)?;
        journal.hosts.append(&run.hosts)?;
        journal.silences.append(&run.silences)?;
        journal.generator.append(&run.generator)?;
        dir.write_info(&run.info)?;
        Ok(dir)
    }
}

/// The CSV files of a run that goes on.
#[derive(Debug)]
pub struct Journal {
    /// `orders.csv`.
    pub orders: Appender,
    /// `migrations.csv`.
    pub migrations: Appender,
    /// `hosts.csv`.
    pub hosts: Appender,
    /// `silences.csv`.
    pub silences: Appender,
    /// `generator.csv`.
    pub generator: Appender,
}

/// Appends rows to a CSV file; each call ends on disk.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    csv: csv::Writer<BufWriter<File>>,
}

impl Appender {
    fn open(path: PathBuf) -> Result<Self, RawError> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| io_error(&path, e))?;
        let empty = file.metadata().map_err(|e| io_error(&path, e))?.len() == 0;
        let csv = csv::WriterBuilder::new()
            .has_headers(empty)
            .from_writer(BufWriter::new(file));
        Ok(Self { path, csv })
    }

    /// Appends the rows and flushes them to the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append<T: Serialize>(&mut self, rows: &[T]) -> Result<(), RawError> {
        for row in rows {
            self.csv
                .serialize(row)
                .map_err(|e| format_error(&self.path, e))?;
        }
        self.csv.flush().map_err(|e| io_error(&self.path, e))
    }
}

/// Makes one run of two that were run apart.
///
/// # Errors
/// They differ in seed, profile or load, or are not one baseline and one migrating part.
pub fn join(a: Run, b: Run) -> Result<Run, RawError> {
    let holds = |run: &Run, part| run.info.parts.iter().any(|p| p.part == part);
    let (mut first, second) = if holds(&a, Part::Baseline) {
        (a, b)
    } else {
        (b, a)
    };
    let refuse = |why: &str| Err(RawError::Join(why.to_owned()));
    if !holds(&first, Part::Baseline) || !holds(&second, Part::Migrating) {
        return refuse("one must hold the baseline, the other the migrations");
    }
    if holds(&first, Part::Migrating) || holds(&second, Part::Baseline) {
        return refuse("one of them holds both parts already");
    }
    if first.info.seed != second.info.seed {
        return refuse("their seeds differ");
    }
    // A load found by calibration in one may be given as a rate in the other.
    let load = first.info.profile.load;
    if first.info.profile
        != (Profile {
            load,
            ..second.info.profile.clone()
        })
    {
        return refuse("their profiles differ");
    }
    let (rate_a, rate_b) = (
        first.info.orders_per_minute_per_vm,
        second.info.orders_per_minute_per_vm,
    );
    if (rate_a - rate_b).abs() > 1e-6 * rate_a.abs() {
        return refuse(&format!(
            "one gave {rate_a} orders per minute and VM, the other {rate_b}"
        ));
    }
    if first.info.machine != second.info.machine || first.info.hosts != second.info.hosts {
        let note = "the two parts ran on different machines".to_owned();
        first
            .info
            .parts
            .iter_mut()
            .for_each(|p| p.notes.push(note.clone()));
    }
    first.info.parts.extend(second.info.parts);
    first.orders.extend(second.orders);
    first.migrations.extend(second.migrations);
    first.hosts.extend(second.hosts);
    first.silences.extend(second.silences);
    first.generator.extend(second.generator);
    Ok(first)
}

fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RawError> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| io_error(path, e))?,
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    let rows: Result<Vec<T>, csv::Error> = reader.deserialize().collect();
    rows.map_err(|e| format_error(path, e))
}

fn io_error(path: &Path, source: io::Error) -> RawError {
    RawError::Io {
        path: path.to_owned(),
        source,
    }
}

fn format_error(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> RawError {
    RawError::Format {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let run = sample::run(1);
        let back = RunDir::save(folder.path(), &run).unwrap().load().unwrap();
        assert!(back == run);
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let run = sample::run(1);
        let dir = RunDir::save(folder.path(), &run).unwrap();
        let mut orders = OpenOptions::new()
            .append(true)
            .open(dir.file(ORDERS))
            .unwrap();
        orders.write_all(b"baseline,vm1,77,12.5,12.").unwrap();
        assert_eq!(dir.load().unwrap().orders.len(), run.orders.len());
    }

    #[test]
    fn rows_are_appended_under_one_header() {
        let folder = tempfile::tempdir().unwrap();
        let run = sample::run(1);
        let dir = RunDir::begin_anew(folder.path()).unwrap();
        for rows in run.hosts.chunks(7) {
            dir.journal().unwrap().hosts.append(rows).unwrap();
        }
        dir.write_info(&run.info).unwrap();
        assert!(dir.load().unwrap().hosts == run.hosts);
    }

    #[test]
    fn parts_run_apart_are_joined_in_either_order() {
        let whole = sample::run(1);
        let (a, b) = sample::apart(&whole);
        // Without the debug output of thousands of rows.
        assert!(join(a.clone(), b.clone()).unwrap() == whole);
        assert!(join(b, a).unwrap() == whole);
    }

    #[test]
    fn strangers_are_not_joined() {
        let (a, b) = sample::apart(&sample::run(1));
        let (_, other) = sample::apart(&sample::run(2));
        assert!(
            join(a.clone(), other)
                .unwrap_err()
                .to_string()
                .contains("seeds differ")
        );
        assert!(join(a.clone(), a).is_err());
        assert!(join(b.clone(), b).is_err());
    }
}
