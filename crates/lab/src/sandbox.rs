//! Starts a box: a process that is number 1 in new pid, mount and host-name namespaces, apart from the command that
//! started it.
//!
//! ```text
//! godwit lab up ── fork ── setsid, setns(net), unshare(pid, mount, uts, ipc) ── fork ── exec box-init  (number 1)
//!                    └ exits at once: box-init is nobody's child and outlives `up`
//! ```
//! Both forks lie between fork and exec of [`Command`], where only one thread exists: `unshare` and `setns` would
//! refuse in a process with threads. `spawn` returns when box-init was executed, or with the reason why not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use crate::error::LabError;
use crate::processes::{BOX_MARK, DIR_MARK};

/// What a box shares with the machine and what not.
pub struct Sandbox<'a> {
    /// The lab's folder.
    pub dir: &'a Path,
    /// The box's name.
    pub name: &'a str,
    /// Where its processes' output goes.
    pub log: &'a Path,
    /// Its network namespace; none leaves it in the machine's.
    pub netns: Option<&'a Path>,
    /// Cores its processes may use; none for all.
    pub cores: &'a [usize],
}

impl Sandbox<'_> {
    /// Starts the box with `init` as its first process.
    ///
    /// # Errors
    /// [`LabError::File`] for the log, [`LabError::System`] when a namespace is refused, or the program missing.
    pub fn start(&self, init: &[String]) -> Result<(), LabError> {
        let action = format!("start {} in namespaces of its own", self.name);
        let netns = self
            .netns
            .map(|path| File::open(path).map_err(LabError::file("open", path)))
            .transpose()?;
        let cores = cpu_set(self.cores)?;
        let mut command = self.command(init)?;
        // SAFETY: `apart` makes system calls only and allocates nothing, as code between fork and exec must.
        unsafe { command.pre_exec(move || apart(netns.as_ref(), cores.as_ref())) };
        let mut first = command.spawn().map_err(LabError::system(action.clone()))?;
        first.wait().map_err(LabError::system(action))?;
        Ok(())
    }

    fn command(&self, init: &[String]) -> Result<Command, LabError> {
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let log = open(self.log).map_err(LabError::file("open", self.log))?;
        let twin = log.try_clone().map_err(LabError::file("open", self.log))?;
        let Some((program, arguments)) = init.split_first() else {
            return Err(LabError::Choice(
                "a box needs a program as its first process".into(),
            ));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--dir")
            .arg(self.dir)
            .arg("--box")
            .arg(self.name);
        command.env(DIR_MARK, self.dir).env(BOX_MARK, self.name);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(twin);
        Ok(command)
    }
}

/// Cores as the kernel wants them; nothing for an empty list.
pub(crate) fn cpu_set(cores: &[usize]) -> Result<Option<CpuSet>, LabError> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)
            .map_err(LabError::system(format!("use core {core}")))?;
    }
    Ok((!cores.is_empty()).then_some(set))
}

fn apart(netns: Option<&File>, cores: Option<&CpuSet>) -> io::Result<()> {
    setsid()?;
    if let Some(cores) = cores {
        sched_setaffinity(Pid::from_raw(0), cores)?;
    }
    if let Some(netns) = netns {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
    }
    let new = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(new)?;
    // SAFETY: the process has one thread; the child goes on to exec, the parent ends without running anything else.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(()),
        // SAFETY: ends the process at once, without the destructors of a copy of another process.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
    }
}
