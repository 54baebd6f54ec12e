//! Writes the order log on a thread of its own, so that a slow disk slows no order.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use godwit_dvdstore::driver::StopHandle;
use godwit_dvdstore::orderlog::{LogError, LogWriter};
use godwit_dvdstore::record::OrderRecord;

use super::Failure;

/// So often the orders are brought into the file, in case the program is killed.
const FLUSH: Duration = Duration::from_secs(1);

/// A log that is not being written yet.
pub(super) struct Log {
    writer: LogWriter,
    received: mpsc::Receiver<Option<OrderRecord>>,
    orders: Orders,
}

/// Where orders go.
#[derive(Clone)]
pub(super) struct Orders(mpsc::Sender<Option<OrderRecord>>);

/// A log being written.
pub(super) struct Writing {
    orders: Orders,
    task: tokio::task::JoinHandle<Result<(), LogError>>,
}

impl Orders {
    /// Adds an order. If the log cannot be written any more it is lost here, and [`Writing::finish`] says so.
    pub(super) fn add(&self, order: OrderRecord) {
        let _ = self.0.send(Some(order));
    }
}

impl Log {
    /// Makes the file.
    pub(super) fn create(path: &Path) -> Result<Log, LogError> {
        let (sender, received) = mpsc::channel();
        Ok(Log {
            writer: LogWriter::create(path)?,
            received,
            orders: Orders(sender),
        })
    }

    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Starts to write. A run whose orders cannot be written is worth nothing: then it is stopped.
    pub(super) fn write(self, stop: StopHandle) -> Writing {
        let Log {
            writer,
            received,
            orders,
        } = self;
        let task = tokio::task::spawn_blocking(move || {
            let written = write_all(writer, &received);
            if written.is_err() {
                stop.stop();
            }
            written
        });
        Writing { orders, task }
    }
}

impl Writing {
    /// Waits until all orders added so far are in the file.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        let _ = self.orders.0.send(None);
        Ok(self.task.await??)
    }
}

/// Writes until it receives the end.
fn write_all(
    mut writer: LogWriter,
    received: &mpsc::Receiver<Option<OrderRecord>>,
) -> Result<(), LogError> {
    let mut flushed = std::time::Instant::now();
    loop {
        match received.recv_timeout(FLUSH) {
            Ok(Some(order)) => writer.write(&order)?,
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => return writer.flush(),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if flushed.elapsed() >= FLUSH {
            writer.flush()?;
            flushed = std::time::Instant::now();
        }
    }
}
