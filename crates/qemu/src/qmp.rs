//! The QMP client: JSON lines over QEMU's unix socket.
//!
//! One task reads, one writes; commands wait for the answer that carries their id. Events go to
//! everyone who subscribed, stamped with our monotonic clock in the moment they were read, since
//! QEMU's own timestamp is wall time. When the socket closes, every pending call fails at once:
//! a call never waits for a QEMU that is gone. QEMU serves one client at a time, and dropping
//! the last clone of [`Qmp`] frees it for the next, which is how a new agent adopts a VM.

mod event;
mod wire;

pub use event::{Event, EventKind, StreamState};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use wire::{Pending, Shared};

/// How long a command may take unless told otherwise. Generous: on a host that is short of CPU
/// a healthy QEMU can need many seconds.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// Events that a slow subscriber may lag behind before it loses some.
const EVENT_QUEUE: usize = 512;

/// Why a QMP call failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket could not be reached.
    #[error("cannot connect to QEMU's monitor socket {}: is this QEMU running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No greeting: QEMU hangs, or somebody else is connected.
    #[error(
        "QEMU's monitor did not greet within {} s: another client holds it, or QEMU hangs",
        .limit.as_secs()
    )]
    NoGreeting {
        /// How long we waited.
        limit: Duration,
    },
    /// The other end is not QEMU.
    #[error("the monitor socket does not speak QMP: {found}")]
    NotQmp {
        /// What came instead of a greeting.
        found: String,
    },
    /// The connection is gone, mostly because QEMU has ended.
    #[error("QEMU's monitor connection is closed ({reason}): QEMU has ended or was killed")]
    Closed {
        /// What was seen.
        reason: String,
    },
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class, mostly `GenericError`.
        class: String,
        /// QEMU's own words.
        desc: String,
    },
    /// No answer in time. The command may still take effect.
    #[error("QEMU did not answer {command} within {} s; it may still be carried out", .limit.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The answer has another shape than this QEMU version promises.
    #[error("QEMU's answer to {command} cannot be understood: is this QEMU version supported?")]
    BadAnswer {
        /// The command.
        command: String,
        /// Where it differs.
        source: serde_json::Error,
    },
}

impl QmpError {
    /// Whether QEMU (or the connection to it) is gone, so that trying again is pointless.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

/// What QEMU says of itself in its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub struct GreetingVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Patch level.
    pub micro: u32,
}

/// A connection to one QEMU. Cheap to clone; the last clone dropped closes it.
#[derive(Clone, Debug)]
pub struct Qmp {
    inner: Arc<Inner>,
    limit: Duration,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Shared>,
    closed: watch::Receiver<Option<String>>,
    version: GreetingVersion,
    reader: tokio::task::AbortHandle,
    writer: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Both halves of the socket go with their tasks, so that QEMU can greet another client.
        self.reader.abort();
        self.writer.abort();
    }
}

impl Qmp {
    /// Connects once, waits for the greeting, and negotiates capabilities.
    ///
    /// # Errors
    /// If nobody listens, or no greeting comes within [`DEFAULT_LIMIT`].
    pub async fn connect(path: &Path) -> Result<Self, QmpError> {
        let connected = UnixStream::connect(path).await;
        let stream = connected.map_err(|source| QmpError::Connect {
            path: path.to_owned(),
            source,
        })?;
        let (read, write) = stream.into_split();
        Self::over(read, write).await
    }

    /// As [`Self::connect`], but waits for the socket to appear: for a QEMU just started.
    ///
    /// # Errors
    /// The last error when `patience` is over.
    pub async fn connect_when_ready(path: &Path, patience: Duration) -> Result<Self, QmpError> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::connect(path).await {
                Err(QmpError::Connect { .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }

    /// Speaks QMP over any pair of streams, such as a child's standard output and input.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn over<R, W>(read: R, write: W) -> Result<Self, QmpError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut lines = wire::Lines::new(read);
        let greeting =
            timeout(DEFAULT_LIMIT, lines.next())
                .await
                .map_err(|_| QmpError::NoGreeting {
                    limit: DEFAULT_LIMIT,
                })?;
        let version = wire::greeting(greeting)?;
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let shared = Arc::new(Shared::new(events));
        let (closed_sender, closed) = watch::channel(None);
        let (commands, queue) = mpsc::unbounded_channel();
        let reader = tokio::spawn(wire::read(lines, Arc::clone(&shared), closed_sender));
        let writer = tokio::spawn(wire::write(write, queue));
        let inner = Inner {
            commands,
            shared,
            closed,
            version,
            reader: reader.abort_handle(),
            writer: writer.abort_handle(),
        };
        let qmp = Self {
            inner: Arc::new(inner),
            limit: DEFAULT_LIMIT,
        };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// The same connection with another time limit for each command.
    #[must_use]
    pub fn with_limit(&self, limit: Duration) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            limit,
        }
    }

    /// The version in QEMU's greeting.
    #[must_use]
    pub fn version(&self) -> GreetingVersion {
        self.inner.version
    }

    /// Carries out a command; `arguments` is a JSON object, empty if there are none.
    ///
    /// # Errors
    /// If QEMU refuses, does not answer within the limit, or is gone.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let (answer, waiting) = oneshot::channel();
        let Some(id) = self.inner.shared.register(Pending { answer }) else {
            return Err(self.closed_error());
        };
        // Forgets the call also if this future is dropped half-way.
        let _forget = wire::Forget {
            shared: &self.inner.shared,
            id,
        };
        let mut line = json!({"execute": command, "arguments": arguments, "id": id})
            .to_string()
            .into_bytes();
        line.push(b'\n');
        if self.inner.commands.send(line).is_err() {
            return Err(self.closed_error());
        }
        match timeout(self.limit, waiting).await {
            Err(_) => Err(QmpError::TimedOut {
                command: command.to_owned(),
                limit: self.limit,
            }),
            Ok(Err(_)) => Err(self.closed_error()),
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(refusal))) => Err(QmpError::Refused {
                command: command.to_owned(),
                class: refusal.class,
                desc: refusal.desc,
            }),
        }
    }

    /// As [`Self::execute`], with the answer in a type.
    ///
    /// # Errors
    /// As [`Self::execute`], or if the answer has another shape.
    pub async fn query<T: DeserializeOwned>(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<T, QmpError> {
        let value = self.execute(command, arguments).await?;
        serde_json::from_value(value).map_err(|source| QmpError::BadAnswer {
            command: command.to_owned(),
            source,
        })
    }

    /// Events from now on. A subscriber that lags far behind gets `Lagged` and should look at the
    /// state afresh. The channel ends when the connection does.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.shared.subscribe()
    }

    /// Waits until the connection is gone and says what was seen.
    pub async fn closed(&self) -> String {
        let mut closed = self.inner.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the reading task has ended".to_owned(),
        }
    }

    /// Whether the connection is gone already.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.is_closed()
    }

    fn closed_error(&self) -> QmpError {
        let reason = self.inner.closed.borrow().clone();
        QmpError::Closed {
            reason: reason.unwrap_or_else(|| "end of stream".to_owned()),
        }
    }
}

#[cfg(test)]
#[path = "qmp/tests.rs"]
mod tests;
