//! Lines in, lines out: the tasks behind [`super::Qmp`].
//!
//! QEMU is trusted no more than needed: a line has a limit, garbage is skipped a few times and
//! then ends the connection, answers nobody waits for are ignored.

use super::{Event, GreetingVersion, QmpError};
use crate::clock;
use godwit_model::units::MonoNs;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{broadcast, mpsc, oneshot, watch},
};

/// The longest real answer (`query-qmp-schema`) is below 1 MiB.
const MAX_LINE: usize = 16 << 20;
/// Lines that are not JSON before we give up on the other end.
const MAX_GARBAGE: u32 = 16;

/// QEMU's error object.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub class: String,
    pub desc: String,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub answer: oneshot::Sender<Result<Value, Refusal>>,
}

/// What the reading task and the callers share.
#[derive(Debug)]
pub(super) struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    next_id: u64,
    pending: HashMap<u64, Pending>,
    /// `None` once the connection is gone.
    events: Option<broadcast::Sender<Event>>,
}

impl Shared {
    pub fn new(events: broadcast::Sender<Event>) -> Self {
        Self(Mutex::new(State {
            next_id: 1,
            pending: HashMap::new(),
            events: Some(events),
        }))
    }

    /// The state stays sound at every step, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if the connection is gone.
    pub fn register(&self, pending: Pending) -> Option<u64> {
        let mut state = self.state();
        state.events.as_ref()?;
        let id = state.next_id;
        state.next_id += 1;
        state.pending.insert(id, pending);
        Some(id)
    }

    pub fn is_closed(&self) -> bool {
        self.state().events.is_none()
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &self.state().events {
            Some(events) => events.subscribe(),
            // A channel without sender: the subscriber sees its end at once.
            None => broadcast::channel(1).1,
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.events = None;
        // Dropping the senders wakes every caller.
        state.pending.clear();
    }

    fn answer(&self, id: u64, result: Result<Value, Refusal>) {
        let Some(pending) = self.state().pending.remove(&id) else {
            tracing::debug!(id, "answer to a QMP command that nobody waits for any more");
            return;
        };
        // An error only means that the caller has gone away.
        let _ = pending.answer.send(result);
    }

    fn publish(&self, event: Event) {
        if let Some(events) = &self.state().events {
            // An error only means that nobody listens.
            let _ = events.send(event);
        }
    }
}

/// Removes a call from the waiting list when its future ends, however it ends.
pub(super) struct Forget<'a> {
    pub shared: &'a Shared,
    pub id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.state().pending.remove(&self.id);
    }
}

/// Splits a stream into lines, each with the moment its last part was read.
pub(super) struct Lines<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold no line end.
    searched: usize,
    read_at: MonoNs,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            searched: 0,
            read_at: MonoNs(0),
        }
    }

    /// The next line without its end; `None` at the end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<(Vec<u8>, MonoNs)>> {
        loop {
            let unseen = &self.buffer[self.searched..];
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                self.searched = 0;
                return Ok(Some((line, self.read_at)));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line without end",
                ));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
            self.read_at = clock::now();
        }
    }
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "QMP")]
    qmp: GreetingBody,
}

#[derive(Deserialize)]
struct GreetingBody {
    version: GreetingPackage,
}

#[derive(Deserialize)]
struct GreetingPackage {
    qemu: GreetingVersion,
}

/// What the first line must be.
pub(super) fn greeting(
    line: io::Result<Option<(Vec<u8>, MonoNs)>>,
) -> Result<GreetingVersion, QmpError> {
    let (line, _) = match line {
        Ok(Some(line)) => line,
        Ok(None) => {
            return Err(QmpError::Closed {
                reason: "end of stream before the greeting".into(),
            });
        }
        Err(error) => {
            return Err(QmpError::Closed {
                reason: error.to_string(),
            });
        }
    };
    serde_json::from_slice::<Greeting>(&line)
        .map(|g| g.qmp.version.qemu)
        .map_err(|_| {
            let shown = String::from_utf8_lossy(&line).chars().take(80).collect();
            QmpError::NotQmp { found: shown }
        })
}

/// Everything that QEMU says after the greeting.
#[derive(Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    timestamp: Option<super::event::Timestamp>,
}

/// The reading task: ends with the connection, and then fails all who wait.
pub(super) async fn read<R: AsyncRead + Unpin>(
    mut lines: Lines<R>,
    shared: std::sync::Arc<Shared>,
    closed: watch::Sender<Option<String>>,
) {
    let reason = read_until_closed(&mut lines, &shared).await;
    tracing::debug!(reason, "QMP connection closed");
    // The reason first, so that whoever is woken by `close` finds it.
    closed.send_replace(Some(reason));
    shared.close();
}

async fn read_until_closed<R: AsyncRead + Unpin>(lines: &mut Lines<R>, shared: &Shared) -> String {
    let mut garbage = 0;
    loop {
        let (line, received) = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return "end of stream".to_owned(),
            Err(error) => return error.to_string(),
        };
        match serde_json::from_slice::<Message>(&line) {
            Ok(message) => dispatch(message, received, shared),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(error) => {
                garbage += 1;
                tracing::warn!(%error, "a line from QEMU's monitor cannot be read");
                if garbage >= MAX_GARBAGE {
                    return "too many unreadable lines".to_owned();
                }
            }
        }
    }
}

fn dispatch(message: Message, received: MonoNs, shared: &Shared) {
    match message {
        Message {
            event: Some(name),
            data,
            timestamp,
            ..
        } => shared.publish(Event {
            name,
            data,
            qemu_time: timestamp.and_then(super::event::Timestamp::since_epoch),
            received,
        }),
        Message {
            id: Some(id),
            error: Some(refusal),
            ..
        } => shared.answer(id, Err(refusal)),
        Message {
            id: Some(id),
            value,
            ..
        } => shared.answer(id, Ok(value.unwrap_or_default())),
        Message {
            error: Some(refusal),
            ..
        } => {
            tracing::warn!(refusal.desc, "QEMU could not read a command");
        }
        _ => tracing::debug!("a message from QEMU's monitor without meaning for us"),
    }
}

/// The writing task: ends when the last [`super::Qmp`] is dropped or the socket closes; in the
/// latter case the reading task sees it, too, and says so.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    while let Some(line) = queue.recv().await {
        let sent = async {
            stream.write_all(&line).await?;
            stream.flush().await
        };
        if let Err(error) = sent.await {
            tracing::debug!(%error, "QMP command not sent");
            return;
        }
    }
}
