//! Becoming the keeper of a run directory: alone, in a session of its own, and hard to kill.

use super::socket_path;
use crate::ofd;
use nix::{
    errno::Errno,
    sys::{
        signal::{SigHandler, SigSet, Signal, signal},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
    },
    unistd::{Pid, gettid, setsid},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

/// Why a keeper could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is one already.
    #[error(
        "a keeper runs already in {} (process {pid}): there is one per run directory, use that one",
        run_dir.display()
    )]
    AlreadyRunning {
        /// Where.
        run_dir: PathBuf,
        /// The other's process id, as it wrote it down.
        pid: String,
    },
    /// The children's death would be tied to a thread that may end before the process does.
    #[error("the keeper must run on its process's main thread: this is a defect, report it")]
    NotMainThread,
    /// The system refused something.
    #[error("the keeper cannot {doing}: check {}", path.display())]
    Io {
        /// What.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a keeper has once it is one.
pub(super) struct Keeper {
    pub(super) run_dir: PathBuf,
    pub(super) listener: UnixListener,
    pub(super) signals: SignalFd,
    /// Held as long as this process lives: the kernel drops the lock with it.
    _pid_file: File,
}

pub(super) fn become_keeper(run_dir: &Path) -> Result<Keeper, ServeError> {
    let error = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |source| ServeError::Io {
            doing,
            path,
            source,
        }
    };
    if gettid() != Pid::this() {
        return Err(ServeError::NotMainThread);
    }
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(run_dir);
    made.map_err(error("create its run directory", run_dir))?;
    let run_dir = fs::canonicalize(run_dir).map_err(error("find its run directory", run_dir))?;
    let pid_file = only_one(&run_dir)?;

    detach().map_err(error("detach from its starter", Path::new("/proc/self/fd")))?;
    let signals = signals().map_err(|e| error("receive signals", &run_dir)(e.into()))?;
    let socket = socket_path(&run_dir);
    // Left by a keeper that was killed; the lock says that none is alive.
    let _ = fs::remove_file(&socket);
    umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(&socket);
    // For the children too: the files and sockets that QEMU makes are for root alone.
    umask(Mode::from_bits_truncate(0o077));
    let listener = bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(error("listen on its socket", &socket))?;
    Ok(Keeper {
        run_dir,
        listener,
        signals,
        _pid_file: pid_file,
    })
}

fn only_one(run_dir: &Path) -> Result<File, ServeError> {
    let path = run_dir.join("keeper.pid");
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let locked = options.open(&path).and_then(|mut file| {
        if !ofd::try_lock(&file)? {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            return Ok(Err(pid.trim().to_owned()));
        }
        file.set_len(0)?;
        writeln!(file, "{}", Pid::this())?;
        Ok(Ok(file))
    });
    match locked {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(pid)) => {
            let run_dir = run_dir.to_path_buf();
            Err(ServeError::AlreadyRunning { run_dir, pid })
        }
        Err(source) => {
            let doing = "lock its pid file";
            Err(ServeError::Io {
                doing,
                path,
                source,
            })
        }
    }
}

/// Away from the starter's session, working directory and files.
fn detach() -> io::Result<()> {
    match setsid() {
        // EPERM: it leads a group already, started so by a shell or a supervisor.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    std::env::set_current_dir("/")?;
    // Inherited files must not travel on into the children. Own ones have the flag already.
    for entry in fs::read_dir("/proc/self/fd")? {
        if let Some(fd) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            && fd > 2
        {
            // SAFETY: sets a flag on a number; a number that is no file is an error, ignored.
            unsafe { nix::libc::fcntl(fd, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
        }
    }
    // All VMs die with the keeper, so it should be the last to go. Needs root; else a pity.
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    Ok(())
}

fn signals() -> nix::Result<SignalFd> {
    // SIGPIPE: a program may have set it to kill; a client that goes away must not take every
    // VM of the host with it.
    for ignored in [Signal::SIGHUP, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
