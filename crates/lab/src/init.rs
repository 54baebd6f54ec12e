//! The first process of a box: sets up its view of the file system, then keeps one program running and buries what
//! dies, as systemd does on a real host.
//!
//! It is number 1 of its pid namespace, so that killing it ends everything in the box, and QEMUs whose keeper died
//! are handed to it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::LabError;
use crate::folder::{Folder, READY, STATE, write_whole};
use crate::mounts;
use crate::plan::MANAGER_BOX;

/// Between a program's end and its next start, as in the systemd unit (`RestartSec=`).
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How often to look whether the program may start for the first time.
const LOOK: Duration = Duration::from_millis(50);
/// How long a program may take to end when asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What the first process says of its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The program's number inside the box, while it runs.
    pub program: Option<i32>,
    /// How often it was started.
    pub starts: u32,
}

/// Lives as the first process of a box until it is told to end.
///
/// # Errors
/// [`LabError`] when the box cannot be set up; afterwards it only ends on SIGTERM.
pub async fn run(dir: &Path, name: &str) -> Result<(), LabError> {
    let folder = Folder::new(dir);
    let description = folder
        .description()?
        .ok_or_else(|| LabError::NotUp { dir: dir.into() })?;
    // Opened before the mounts: a blade's own folders may hide the lab's, whose default place is below one of them.
    let path = folder.of_box(name);
    let own = File::open(&path).map_err(LabError::file("open", &path))?;
    let programs = &description.spec.programs;
    let (argv, _storage) = if name == MANAGER_BOX {
        mounts::enter_plain()?;
        (programs.manager.as_ref(), Vec::new())
    } else {
        let blade = description.plan.blade(name);
        let blade = blade.ok_or_else(|| LabError::no_blade(name, &description.plan))?;
        (
            Some(&programs.agent),
            mounts::enter_blade(&folder, &description, blade)?,
        )
    };
    let Some((program, arguments)) = argv.and_then(|argv| argv.split_first()) else {
        return Err(LabError::Choice(format!("{name} has no program to run")));
    };
    let own = PathBuf::from(format!("/proc/self/fd/{}", own.as_raw_fd()));
    Supervisor {
        own: &own,
        name,
        program,
        arguments,
        state: State::default(),
    }
    .run()
    .await
}

struct Supervisor<'a> {
    /// The box's folder, by a path that no mount hides.
    own: &'a Path,
    name: &'a str,
    program: &'a str,
    arguments: &'a [String],
    state: State,
}

impl Supervisor<'_> {
    async fn run(mut self) -> Result<(), LabError> {
        let listen = |kind| signal(kind).map_err(LabError::system("listen for signals"));
        let (mut child, mut end) = (
            listen(SignalKind::child())?,
            listen(SignalKind::terminate())?,
        );
        // The first word: the box is set up, and others may enter it.
        self.note();
        let ready = self.own.join(READY);
        while !ready.exists() {
            tokio::select! {
                () = sleep(LOOK) => self.bury(),
                _ = end.recv() => return Ok(()),
            }
        }
        let mut due = Some(Instant::now());
        loop {
            let start = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = start => {
                    self.start();
                    due = self.state.program.is_none().then(|| Instant::now() + RESTART_AFTER);
                }
                _ = child.recv() => {
                    self.bury();
                    if self.state.program.is_none() && due.is_none() {
                        due = Some(Instant::now() + RESTART_AFTER);
                    }
                }
                _ = end.recv() => break,
            }
        }
        self.end(&mut child).await;
        Ok(())
    }

    fn start(&mut self) {
        self.state.starts += 1;
        let mut command = Command::new(self.program);
        let child = command.args(self.arguments).stdin(Stdio::null()).spawn();
        match child {
            // Not waited for here: `bury` does, together with the orphans.
            Ok(child) => self.state.program = i32::try_from(child.id()).ok(),
            Err(error) => eprintln!("{}: cannot start {}: {error}", self.name, self.program),
        }
        self.note();
    }

    /// Waits for all that have ended. A box that did not would fill with zombies.
    fn bury(&mut self) {
        loop {
            let (pid, how) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit status {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal {signal}")),
                Err(Errno::EINTR) => continue,
                _ => return,
            };
            if self.state.program == Some(pid.as_raw()) {
                eprintln!("{}: {} ended with {how}", self.name, self.program);
                self.state.program = None;
                self.note();
            }
        }
    }

    async fn end(mut self, child: &mut tokio::signal::unix::Signal) {
        let deadline = Instant::now() + GRACE;
        if let Some(program) = self.state.program {
            let _ = kill(Pid::from_raw(program), Signal::SIGTERM);
        }
        while self.state.program.is_some() && Instant::now() < deadline {
            tokio::select! {
                _ = child.recv() => self.bury(),
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn note(&self) {
        let text = serde_json::to_vec(&self.state).unwrap_or_default();
        if let Err(error) = write_whole(&self.own.join(STATE), &text) {
            eprintln!("{}: {error}", self.name);
        }
    }
}
