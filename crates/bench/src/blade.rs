//! A process inside a blade: in its network and its view of the files, on its cores, as `lab exec` puts it there.
//!
//! It keeps the machine's process numbers, so that it is no process of the lab's: taking the blade down does not end
//! it, the [`Process`] that holds it does. When the bench itself is killed the kernel ends it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use godwit_lab::plan::Blade;
use godwit_lab::processes;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;

use crate::error::BenchError;
use crate::lab::Lab;
use crate::plan::Side;

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A process that ends with this value.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        while self.is_running() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors say that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program in a blade; what it says goes to the log. The caller's thread must last as long as the process may.
///
/// # Errors
/// The lab is not up, or the program cannot be started.
pub fn spawn(
    lab: &Lab,
    side: Side,
    mut command: Command,
    log: &Path,
) -> Result<Process, BenchError> {
    let blade = lab.blade(side);
    let place = Place::find(lab.dir(), blade)?;
    let output = File::create(log).map_err(BenchError::file("write", log))?;
    let twin = output.try_clone().map_err(BenchError::file("write", log))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(twin);
    // SAFETY: `enter` makes system calls only and allocates nothing, as code between fork and exec must.
    unsafe { command.pre_exec(move || place.enter()) };
    let child = command.spawn().map_err(|source| BenchError::Spawn {
        program,
        blade: blade.name.clone(),
        source,
    })?;
    Ok(Process(child))
}

struct Place {
    namespaces: [File; 2],
    cores: CpuSet,
    has_cores: bool,
}

impl Place {
    fn find(dir: &Path, blade: &Blade) -> Result<Self, BenchError> {
        let init = processes::find(dir, &blade.name).ok_or_else(|| {
            BenchError::Setup(format!("{} does not run: is the lab up?", blade.name))
        })?;
        let open = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", init.pid);
            File::open(&path).map_err(BenchError::file("open", Path::new(&path)))
        };
        let mut cores = CpuSet::new();
        for core in &blade.cores {
            let set = cores.set(*core);
            set.map_err(|error| {
                BenchError::failed(format!("using core {core}"), error.to_string())
            })?;
        }
        Ok(Self {
            namespaces: [open("net")?, open("mnt")?],
            cores,
            has_cores: !blade.cores.is_empty(),
        })
    }

    fn enter(&self) -> io::Result<()> {
        // SAFETY: both take numbers only. A bench that is killed must not leave VMs behind, and what makes the bench
        // punctual must not make the VMs so.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        }
        if self.has_cores {
            sched_setaffinity(Pid::from_raw(0), &self.cores)?;
        }
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty())?;
        }
        Ok(())
    }
}
