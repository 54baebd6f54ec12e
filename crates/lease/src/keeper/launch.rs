//! Starting one child so that it dies with the keeper and shares nothing else with it.

use super::{
    process_lock,
    protocol::{RefusalCode, Refused, Spawn},
};
use nix::{
    libc,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

/// Starts what `spawn` says. Must run on the keeper's main thread: the kernel's parent-death
/// signal is tied to the *thread* that forked, and the main thread ends with the process.
pub(super) fn launch(run_dir: &Path, spawn: &Spawn) -> Result<Child, Refused> {
    let cannot = |what: String| {
        move |e: io::Error| Refused::new(RefusalCode::CannotStart, format!("cannot {what}: {e}"))
    };
    let invalid = |text: &str| Err(Refused::new(RefusalCode::Invalid, text));
    let Some((program, args)) = spawn.argv.split_first() else {
        return invalid("argv is empty: give the program and its arguments");
    };
    if !Path::new(program).is_absolute() || !spawn.log.is_absolute() {
        return invalid("the program and the log must be absolute paths");
    }
    let cpus = cpu_set(spawn.affinity.as_deref())?;

    let mut options = OpenOptions::new();
    let log = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&spawn.log);
    let log = log.map_err(cannot(format!("open {}", spawn.log.display())))?;
    let log2 = log
        .try_clone()
        .map_err(cannot("share the log".to_owned()))?;
    let lock = process_lock::take(run_dir, spawn.vm).map_err(cannot("lock the VM".to_owned()))?;
    let Some(lock) = lock else {
        let text = format!(
            "a process of a former keeper still exists for VM {}: if it does not end by itself it is stuck in the kernel, and the host must be reset",
            spawn.vm
        );
        return Err(Refused::new(RefusalCode::StillThere, text));
    };

    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log2)
        .process_group(0);
    let keeper = Pid::this();
    let lock_fd = lock.as_raw_fd();
    // SAFETY: the closure runs between fork and exec in a process forked from a single-threaded
    // one, and makes only system calls; it allocates nothing.
    unsafe {
        command.pre_exec(move || prepare(keeper, lock_fd, cpus.as_ref()));
    }
    command.spawn().map_err(cannot(format!("start {program}")))
    // `lock` is dropped here; the child's copy of the open file keeps the lock.
}

fn cpu_set(affinity: Option<&[usize]>) -> Result<Option<CpuSet>, Refused> {
    let Some(cpus) = affinity else {
        return Ok(None);
    };
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu).map_err(|_| {
            Refused::new(
                RefusalCode::Invalid,
                format!("CPU {cpu} is beyond what a CPU set holds"),
            )
        })?;
    }
    Ok(Some(set))
}

/// In the child, before exec.
fn prepare(keeper: Pid, lock_fd: i32, cpus: Option<&CpuSet>) -> io::Result<()> {
    // SAFETY: plain system calls on values of this process; no memory is shared.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The keeper may have died before the line above; then the signal will never come.
        if libc::getppid() != keeper.as_raw() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        // The keeper blocks and ignores signals for its own purposes; its children must not.
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut(),
        ))?;
        for signal in [libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_DFL);
        }
        // All files of the keeper close at exec; this one stays open as long as the process.
        check(libc::fcntl(lock_fd, libc::F_SETFD, 0))?;
        // The keeper is protected from the OOM killer; a guest is not. Failing is harmless.
        let path = c"/proc/self/oom_score_adj";
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, b"0".as_ptr().cast(), 1);
            libc::close(fd);
        }
    }
    if let Some(cpus) = cpus {
        sched_setaffinity(Pid::from_raw(0), cpus)?;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
