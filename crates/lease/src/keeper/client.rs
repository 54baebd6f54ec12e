//! The agent's side of the keeper: finds it, or starts it, and asks.
//!
//! Each call connects anew if the connection broke, and starts a keeper if none is there. A
//! call whose connection breaks after the question was sent is not repeated: whether it was
//! done is for [`Client::list`] to say.

use super::{
    exits::Exits,
    log_path,
    protocol::{KillSignal, PROTOCOL_VERSION, Refused, Reply, Request, Running, Seen, Spawn, line},
    socket_path,
};
use godwit_model::ids::VmId;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// A reply lists all VMs at most.
const LONGEST_REPLY: u64 = 16 << 20;
/// Generous: on a busy machine even a small process takes its time to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(20);

/// Why the keeper could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is not there, and this client cannot start one.
    #[error("no keeper answers in {}: start `godwit keeper --run-dir {0}`", run_dir.display())]
    Unreachable {
        /// Where it was looked for.
        run_dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be started.
    #[error("the keeper did not start: see {}", log.display())]
    NotStarted {
        /// Its log.
        log: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It went away before it answered. Whether it did what was asked is not known.
    #[error("the keeper went away before it answered: ask it for the list")]
    Interrupted(#[source] io::Error),
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is of another version than this agent.
    #[error(
        "the keeper speaks version {theirs}, this agent version {PROTOCOL_VERSION}: move this host's VMs away, end the keeper, and start the agent again"
    )]
    Version {
        /// The keeper's.
        theirs: u32,
    },
    /// It said something that does not belong there.
    #[error("the keeper's answer does not fit the question: this is a defect, report it")]
    Garbage,
}

/// Talks to the keeper of one run directory. Cheap to clone; clones share a connection.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    run_dir: PathBuf,
    exe: Option<PathBuf>,
    link: Mutex<Option<Link>>,
}

impl Client {
    /// Finds the keeper of `run_dir`, or starts one: `exe keeper --run-dir RUN_DIR`, which makes
    /// a session of its own and so outlives this process. Also later, whenever the keeper
    /// turns out to be gone, a new one is started.
    ///
    /// # Errors
    /// If it cannot be started, or does not fit this version.
    pub async fn connect_or_start(exe: &Path, run_dir: &Path) -> Result<Self, ClientError> {
        Self::with(Some(exe.to_path_buf()), run_dir).await
    }

    /// Finds the keeper of `run_dir`; never starts one.
    ///
    /// # Errors
    /// If it is not there, or does not fit this version.
    pub async fn connect(run_dir: &Path) -> Result<Self, ClientError> {
        Self::with(None, run_dir).await
    }

    async fn with(exe: Option<PathBuf>, run_dir: &Path) -> Result<Self, ClientError> {
        let link = Mutex::new(None);
        let run_dir = run_dir.to_path_buf();
        let shared = Arc::new(Shared { run_dir, exe, link });
        let client = Self { shared };
        let link = client.link().await?;
        *client.shared.link.lock().await = Some(link);
        Ok(client)
    }

    /// Starts a VM's process; its process id.
    ///
    /// # Errors
    /// `Refused` if there is one already, or it cannot be started.
    pub async fn spawn(&self, spawn: Spawn) -> Result<u32, ClientError> {
        match self.ask(&Request::Spawn(spawn)).await? {
            Reply::Spawned { pid } => Ok(pid),
            _ => Err(ClientError::Garbage),
        }
    }

    /// Sends a signal to a VM's process. That it is gone is said by [`Client::exits`].
    ///
    /// # Errors
    /// `Refused` if the VM has no process.
    pub async fn kill(&self, vm: VmId, signal: KillSignal) -> Result<(), ClientError> {
        match self.ask(&Request::Kill { vm, signal }).await? {
            Reply::Done => Ok(()),
            _ => Err(ClientError::Garbage),
        }
    }

    /// What runs.
    ///
    /// # Errors
    /// If the keeper cannot be asked.
    pub async fn list(&self) -> Result<Vec<Running>, ClientError> {
        let asked = match self.ask(&Request::List).await {
            // Asking twice does no harm, and the first connection may have been an old one.
            Err(ClientError::Interrupted(_)) => self.ask(&Request::List).await,
            asked => asked,
        };
        match asked? {
            Reply::Running(running) => Ok(running),
            _ => Err(ClientError::Garbage),
        }
    }

    /// The keeper's identity: another one than before means that the former one, and with it
    /// every VM of this host, was killed.
    ///
    /// # Errors
    /// If the keeper cannot be asked.
    pub async fn keeper(&self) -> Result<Uuid, ClientError> {
        let mut link = self.shared.link.lock().await;
        // A stored connection may be to a keeper that is gone: only an answer proves that not.
        if let Some(mut old) = link.take()
            && matches!(old.ask(&Request::List).await, Ok(Reply::Running(_)))
        {
            return Ok(link.insert(old).keeper);
        }
        let new = self.link().await?;
        Ok(link.insert(new).keeper)
    }

    /// The exits after `seen` (all that the keeper remembers, by default), then those to come.
    #[must_use]
    pub fn exits(&self, seen: Seen) -> Exits {
        Exits::new(self.clone(), seen)
    }

    /// Ends the keeper; returns when it and all its children are gone.
    ///
    /// # Errors
    /// `Refused` if VMs run and `force` is not given.
    pub async fn shutdown(&self, force: bool) -> Result<(), ClientError> {
        let reply = self.ask(&Request::Shutdown { force }).await?;
        // The keeper has said its last, although its process may take a moment to end.
        *self.shared.link.lock().await = None;
        match reply {
            Reply::Done => Ok(()),
            _ => Err(ClientError::Garbage),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let mut stored = self.shared.link.lock().await;
        // Taken out while the answer is open: a call that is dropped half-way leaves none
        // behind that would be taken for the answer to the next question.
        let usable = stored.take().filter(Link::seems_alive);
        let mut link = match usable {
            Some(link) => link,
            None => self.link().await?,
        };
        let reply = link.ask(request).await?;
        *stored = Some(link);
        match reply {
            Reply::Refused(refused) => Err(refused.into()),
            reply => Ok(reply),
        }
    }

    /// A new connection, greeted; to a new keeper if need be.
    pub(super) async fn link(&self) -> Result<Link, ClientError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            match Link::greet(self.connect_once().await?).await {
                // The kernel took the connection for a keeper that was just dying. Nothing was
                // asked yet, so trying again does no harm.
                Err(ClientError::Interrupted(_)) if Instant::now() < deadline => {
                    sleep(START_POLL).await;
                }
                greeted => return greeted,
            }
        }
    }

    async fn connect_once(&self) -> Result<UnixStream, ClientError> {
        let run_dir = &self.shared.run_dir;
        let source = match UnixStream::connect(socket_path(run_dir)).await {
            Ok(stream) => return Ok(stream),
            Err(source) => source,
        };
        let Some(exe) = &self.shared.exe else {
            let run_dir = run_dir.clone();
            return Err(ClientError::Unreachable { run_dir, source });
        };
        start(exe, run_dir).await.map_err(|source| {
            let log = log_path(run_dir);
            ClientError::NotStarted { log, source }
        })
    }
}

/// A connection that was greeted.
pub(super) struct Link {
    stream: BufReader<UnixStream>,
    /// The beginning of a line whose reader was dropped half-way.
    begun: Vec<u8>,
    pub(super) keeper: Uuid,
}

impl Link {
    async fn greet(stream: UnixStream) -> Result<Self, ClientError> {
        let mut link = Self {
            stream: BufReader::new(stream),
            begun: Vec::new(),
            keeper: Uuid::nil(),
        };
        let version = PROTOCOL_VERSION;
        match link.ask(&Request::Hello { version }).await? {
            Reply::Hello {
                version, keeper, ..
            } if version == PROTOCOL_VERSION => {
                link.keeper = keeper;
                Ok(link)
            }
            Reply::Hello { version, .. } => Err(ClientError::Version { theirs: version }),
            _ => Err(ClientError::Garbage),
        }
    }

    /// Nothing may arrive on an idle connection; an end or a stray line makes it unusable. The
    /// kernel is asked, since the runtime may not have heard of an end yet.
    fn seems_alive(&self) -> bool {
        let fd = self.stream.get_ref().as_raw_fd();
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        self.stream.buffer().is_empty() && recv(fd, &mut [0; 1], look) == Err(Errno::EAGAIN)
    }

    pub(super) async fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let written = self.stream.get_mut().write_all(&line(request)).await;
        written.map_err(ClientError::Interrupted)?;
        self.next().await
    }

    /// The next line. Safe to drop half-way.
    pub(super) async fn next(&mut self) -> Result<Reply, ClientError> {
        let mut bounded = (&mut self.stream).take(LONGEST_REPLY);
        let read = bounded.read_until(b'\n', &mut self.begun).await;
        read.map_err(ClientError::Interrupted)?;
        let line = std::mem::take(&mut self.begun);
        if line.last() != Some(&b'\n') {
            let end = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(ClientError::Interrupted(end));
        }
        serde_json::from_slice(&line).map_err(|_| ClientError::Garbage)
    }
}

/// Starts a keeper and waits until one answers: this one, or another that was quicker.
async fn start(exe: &Path, run_dir: &Path) -> io::Result<UnixStream> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(run_dir)?;
    let deadline = Instant::now() + START_PATIENCE;
    let mut child: Option<Child> = None;
    loop {
        match UnixStream::connect(socket_path(run_dir)).await {
            Ok(stream) => {
                if let Some(mut child) = child {
                    // So that it is no zombie should it end before this process does.
                    tokio::spawn(async move {
                        let status = child.wait().await;
                        tracing::warn!(?status, "the keeper that this process started has ended");
                    });
                }
                return Ok(stream);
            }
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => {}
        }
        let ended = match child.as_mut() {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        };
        if ended {
            // Not an error yet: a keeper that is just dying may still have held the lock.
            child = Some(command(exe, run_dir)?.spawn()?);
            sleep(START_POLL * 5).await;
        }
        sleep(START_POLL).await;
    }
}

fn command(exe: &Path, run_dir: &Path) -> io::Result<Command> {
    let mut options = OpenOptions::new();
    let log = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log_path(run_dir))?;
    let mut command = Command::new(exe);
    command
        .arg("keeper")
        .arg("--run-dir")
        .arg(run_dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}
