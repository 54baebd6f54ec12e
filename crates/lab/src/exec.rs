//! Runs a command inside a blade, as if logged in there.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Output};
use std::thread;

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;

use crate::error::LabError;
use crate::folder::Folder;
use crate::processes;
use crate::sandbox::cpu_set;

/// Runs a command in all of a blade's namespaces and on its cores, with the caller's input and output, until it ends.
///
/// # Errors
/// [`LabError::NoBlade`] and [`LabError::NotUp`]; [`LabError::System`] when the command cannot be started.
pub fn exec(dir: &Path, name: &str, argv: &[String]) -> Result<ExitStatus, LabError> {
    run(dir, name, argv, Command::status)
}

/// Like [`exec`], with the output returned.
///
/// # Errors
/// As [`exec`].
pub fn output(dir: &Path, name: &str, argv: &[String]) -> Result<Output, LabError> {
    run(dir, name, argv, Command::output)
}

/// Like [`output`], with a secret in the command's environment.
pub(crate) fn output_with_secret(
    dir: &Path,
    name: &str,
    argv: &[String],
    variable: &str,
    secret: &str,
) -> Result<Output, LabError> {
    run(dir, name, argv, |command| {
        command.env(variable, secret).output()
    })
}

/// The exit status as a shell would give it: 128 and the signal's number when a signal ended the command.
#[must_use]
pub fn shell_status(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    u8::try_from(code.unwrap_or(1)).unwrap_or(1)
}

fn run<T: Send>(
    dir: &Path,
    name: &str,
    argv: &[String],
    work: impl FnOnce(&mut Command) -> io::Result<T> + Send,
) -> Result<T, LabError> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| LabError::Choice("name a command to run in the blade".into()))?;
    let place = Place::find(dir, name)?;
    let action = format!("run {program} in {name}");
    let call = || {
        // A pid namespace is entered by the children of the thread that asks, hence a thread for this one.
        setns(&place.pid, CloneFlags::CLONE_NEWPID)?;
        let mut command = Command::new(program);
        command.args(arguments);
        // SAFETY: `enter` makes system calls only and allocates nothing, as code between fork and exec must.
        unsafe { command.pre_exec(move || place.enter()) };
        work(&mut command)
    };
    thread::scope(|scope| {
        scope
            .spawn(call)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .map_err(LabError::system(action))
}

/// The namespaces and cores of a blade.
struct Place {
    pid: File,
    others: [File; 4],
    cores: Option<CpuSet>,
}

impl Place {
    fn find(dir: &Path, name: &str) -> Result<Self, LabError> {
        let description = Folder::new(dir)
            .description()?
            .ok_or_else(|| LabError::NotUp { dir: dir.into() })?;
        let Some(blade) = description.plan.blade(name) else {
            return Err(LabError::no_blade(name, &description.plan));
        };
        let init = processes::find(dir, name).ok_or_else(|| LabError::NotUp { dir: dir.into() })?;
        let open = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", init.pid);
            File::open(&path).map_err(LabError::file("open", Path::new(&path)))
        };
        let others = [open("net")?, open("uts")?, open("ipc")?, open("mnt")?];
        Ok(Self {
            pid: open("pid")?,
            others,
            cores: cpu_set(&blade.cores)?,
        })
    }

    fn enter(&self) -> io::Result<()> {
        if let Some(cores) = &self.cores {
            sched_setaffinity(Pid::from_raw(0), cores)?;
        }
        for namespace in &self.others {
            setns(namespace, CloneFlags::empty())?;
        }
        Ok(())
    }
}
