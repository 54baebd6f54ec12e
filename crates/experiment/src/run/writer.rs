//! Writes down what is measured, in a thread of its own: the disk must not hold up the generator.

use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::raw::{Journal, RawError, RunDir, RunInfo};
use crate::records::{GeneratorRow, HostRow, MigrationRow, OrderRow, SilenceRow};

/// What is to be written.
#[derive(Debug)]
pub enum Entry {
    /// Orders that ended.
    Orders(Vec<OrderRow>),
    /// A migration that ended.
    Migration(Box<MigrationRow>),
    /// A host's second.
    Host(HostRow),
    /// Silences that ended.
    Silences(Vec<SilenceRow>),
    /// The instrument's second.
    Generator(GeneratorRow),
    /// How far the run is.
    Info(Box<RunInfo>),
}

/// Gives entries to the writing thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pen(mpsc::Sender<Entry>);

impl Pen {
    /// Writes an entry down soon. An error of the disk is told at the end, by [`Writer::finish`].
    pub fn write(&self, entry: Entry) {
        // The thread has ended only after such an error.
        let _ = self.0.send(entry);
    }
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    pen: Pen,
    thread: JoinHandle<Result<(), RawError>>,
}

impl Writer {
    /// Opens the folder's files and starts the thread.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn start(dir: &RunDir) -> Result<Self, RawError> {
        let (sender, entries) = mpsc::channel();
        let (dir, mut journal) = (dir.clone(), dir.journal()?);
        let thread = std::thread::spawn(move || {
            entries
                .into_iter()
                .try_for_each(|entry| write(&dir, &mut journal, entry))
        });
        Ok(Self {
            pen: Pen(sender),
            thread,
        })
    }

    /// A pen for this writer.
    #[must_use]
    pub fn pen(&self) -> Pen {
        self.pen.clone()
    }

    /// Waits until everything is written; all other pens must be gone.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn finish(self) -> Result<(), RawError> {
        drop(self.pen);
        // It panics only where this code has a bug; then what is written is all there is.
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn write(dir: &RunDir, journal: &mut Journal, entry: Entry) -> Result<(), RawError> {
    match entry {
        Entry::Orders(rows) => journal.orders.append(&rows),
        Entry::Migration(row) => journal.migrations.append(&[*row]),
        Entry::Host(row) => journal.hosts.append(&[row]),
        Entry::Silences(rows) => journal.silences.append(&rows),
        Entry::Generator(row) => journal.generator.append(&[row]),
        Entry::Info(info) => dir.write_info(&info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = sample::run(1);
        let dir = RunDir::begin_anew(folder.path()).unwrap();
        let writer = Writer::start(&dir).unwrap();
        let pen = writer.pen();
        pen.write(Entry::Info(Box::new(run.info.clone())));
        pen.write(Entry::Orders(run.orders.clone()));
        run.migrations
            .iter()
            .for_each(|m| pen.write(Entry::Migration(Box::new(m.clone()))));
        run.hosts
            .iter()
            .for_each(|h| pen.write(Entry::Host(h.clone())));
        run.generator
            .iter()
            .for_each(|g| pen.write(Entry::Generator(g.clone())));
        pen.write(Entry::Silences(run.silences.clone()));
        drop(pen);
        writer.finish().unwrap();
        assert!(dir.load().unwrap() == run);
    }
}
