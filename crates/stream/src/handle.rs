//! What an agent has of a relay: a process to start, command and listen to.
//!
//! ```ignore
//! let (relay, mut events) = SourceRelay::spawn(&exe, &config).await?;   // listening
//! while let Some(event) = events.next().await { ... relay.release() ... }
//! ```
//! Events end with exactly one [`Event::Verified`] or [`Event::Failed`], also when the process is killed. Dropping
//! the relay ends its process.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    sync::mpsc,
};

use crate::{Command, DestinationConfig, Event, SourceConfig, Totals};

/// How long a relay may take from its start until it listens. The destination's includes waiting for QEMU's socket.
const LISTENING_WITHIN: Duration = Duration::from_secs(60);

/// A relay that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The program does not start.
    #[error("cannot start the relay; check that the godwit binary is in place and executable")]
    Start(#[source] std::io::Error),
    /// It started and said why it cannot work.
    #[error("the relay gave up: {0}")]
    GaveUp(String),
    /// It said nothing for too long.
    #[error("the relay did not listen within {} s; is the host overloaded?", LISTENING_WITHIN.as_secs())]
    TooSlow,
    /// It listens on something that is not an address.
    #[error(
        "the relay says it listens on \"{0}\", which is not an address; are both of the same release?"
    )]
    BadAddress(String),
}

/// A relay's events, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// The relay at the source: `godwit relay send`.
#[derive(Debug)]
pub struct SourceRelay(Process);

impl SourceRelay {
    /// Starts the relay and returns when its unix socket exists. Start QEMU's migration at [`Event::Connected`].
    pub async fn spawn(exe: &Path, config: &SourceConfig) -> Result<(Self, Events), RelayError> {
        let (process, events, _) = Process::spawn(exe, "send", config).await?;
        Ok((Self(process), events))
    }

    /// Lets the withheld tail go. To be called only when QEMU has reported `completed`; it may come before
    /// [`Event::Drained`]. After this call the source may continue its VM only by winning the epoch.
    pub fn release(&self) {
        // Set before the command can take effect: from here on a failure counts as "may have left".
        self.0.shared.released.store(true, Ordering::SeqCst);
        self.0.command(Command::Release);
    }

    /// Gives up; ends with [`Event::Failed`]. After [`Self::release`] it has no effect.
    pub fn cancel(&self) {
        self.0.command(Command::Cancel);
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// What passed and what it cost so far; stays readable after the end.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.totals()
    }
}

/// The relay at the destination: `godwit relay receive`.
#[derive(Debug)]
pub struct DestinationRelay {
    process: Process,
    address: SocketAddr,
}

impl DestinationRelay {
    /// Starts the relay and returns when it listens. QEMU must have been told `migrate-incoming unix:<socket>`.
    pub async fn spawn(
        exe: &Path,
        config: &DestinationConfig,
    ) -> Result<(Self, Events), RelayError> {
        let (process, events, address) = Process::spawn(exe, "receive", config).await?;
        let address = address
            .parse()
            .map_err(|_| RelayError::BadAddress(address))?;
        Ok((Self { process, address }, events))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives up; ends with [`Event::Failed`].
    pub fn cancel(&self) {
        self.process.command(Command::Cancel);
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What passed and what it cost so far; stays readable after the end.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.process.totals()
    }
}

/// What the handle and the task that reads the process's output share.
#[derive(Debug, Default)]
struct Shared {
    released: AtomicBool,
    totals: Mutex<Totals>,
    ended: AtomicBool,
}

impl Shared {
    fn note(&self, event: &Event) {
        if let Event::Progress { totals }
        | Event::Verified { totals }
        | Event::Failed { totals, .. } = event
        {
            *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = *totals;
        }
    }

    fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Process {
    pid: u32,
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Process {
    /// Starts a relay and waits until it listens; gives the address too.
    async fn spawn(
        exe: &Path,
        role: &str,
        config: &impl Serialize,
    ) -> Result<(Self, Events, String), RelayError> {
        let mut child = tokio::process::Command::new(exe)
            .args(["relay", role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(RelayError::Start)?;
        let missing = || RelayError::Start(std::io::ErrorKind::BrokenPipe.into());
        let mut stdin = child.stdin.take().ok_or_else(missing)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let pid = child.id().ok_or_else(missing)?;

        let started = async {
            let line =
                serde_json::to_string(config).map_err(|error| RelayError::Start(error.into()))?;
            // If it has ended already, its last words say more than the error of this write.
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
            first_event(&mut lines).await
        };
        let address = tokio::time::timeout(LISTENING_WITHIN, started)
            .await
            .map_err(|_| RelayError::TooSlow)??;

        let shared = Arc::new(Shared::default());
        let (commands, inbox) = mpsc::unbounded_channel();
        // Room for a few minutes of progress: an agent that does not listen holds its relay up, not the memory.
        let (sender, events) = mpsc::channel(1024);
        tokio::spawn(supervise(
            child,
            stdin,
            lines,
            inbox,
            sender,
            shared.clone(),
        ));
        Ok((
            Self {
                pid,
                commands,
                shared,
            },
            Events(events),
            address,
        ))
    }

    fn command(&self, command: Command) {
        // A relay that has ended needs no commands.
        let _ = self.commands.send(command);
    }

    fn totals(&self) -> Totals {
        let mut totals = self.shared.totals();
        if !self.shared.ended.load(Ordering::SeqCst) {
            totals.cpu = totals.cpu.max(cpu_of(self.pid).unwrap_or_default());
        }
        totals
    }
}

/// The address that the relay listens on, or why it does not.
async fn first_event(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, RelayError> {
    match next_event(lines).await {
        Some(Event::Listening { address }) => Ok(address),
        Some(Event::Failed { reason, .. }) => Err(RelayError::GaveUp(reason)),
        other => Err(RelayError::GaveUp(format!("it began with {other:?}"))),
    }
}

/// The next event; `None` if the process has ended or says something that is not an event.
async fn next_event(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Event> {
    let line = lines.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}

/// Carries commands in and events out until the process has said its last, or the handle is dropped.
async fn supervise(
    mut child: Child,
    mut stdin: ChildStdin,
    mut lines: Lines<BufReader<ChildStdout>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
) {
    let last = loop {
        tokio::select! {
            event = next_event(&mut lines) => match event {
                Some(event @ (Event::Verified { .. } | Event::Failed { .. })) => break event,
                Some(event) => {
                    shared.note(&event);
                    // Whoever does not listen any more does not need it.
                    let _ = events.send(event).await;
                }
                None => break died(&mut child, &shared).await,
            },
            command = commands.recv() => match command {
                Some(command) => send(&mut stdin, command).await,
                // The handle is gone: closing stdin ends the process, dropping the child makes sure.
                None => return,
            },
        }
    };
    shared.note(&last);
    let last = match last {
        Event::Failed {
            reason,
            released,
            totals,
        } => Event::Failed {
            reason,
            released: released || shared.released.load(Ordering::SeqCst),
            totals,
        },
        other => other,
    };
    drop(stdin);
    let is_good = matches!(last, Event::Verified { .. });
    if is_good {
        // Now: the VM stands still until the agent knows. What the process still does is for later migrations.
        let _ = events.send(last.clone()).await;
    }
    let _ = child.wait().await;
    shared.ended.store(true, Ordering::SeqCst);
    if !is_good {
        let _ = events.send(last).await;
    }
}

async fn send(stdin: &mut ChildStdin, command: Command) {
    let Ok(line) = serde_json::to_string(&command) else {
        return;
    };
    // If it has ended, its output says so too.
    let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
}

/// The last event of a process that did not say one itself.
async fn died(child: &mut Child, shared: &Shared) -> Event {
    let _ = child.start_kill();
    let how = child
        .wait()
        .await
        .map_or_else(|error| error.to_string(), |status| status.to_string());
    let released = shared.released.load(Ordering::SeqCst);
    Event::Failed {
        reason: format!("the relay's process ended: {how}"),
        released,
        totals: shared.totals(),
    }
}

/// User and system time of a process, from the 14th and 15th field of its `stat` (proc_pid_stat(5)).
fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_a_process_is_read_and_of_no_process_is_not() {
        assert!(cpu_of(std::process::id()).is_some());
        assert!(cpu_of(u32::MAX).is_none());
    }
}
