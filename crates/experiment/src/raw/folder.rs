//! The folder that a run lives in.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RawError, Run, RunInfo};

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
}
