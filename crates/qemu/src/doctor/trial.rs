//! Starting a VM on trial. The hardware contract touches memfd, the sandbox, the CPU model and
//! unix sockets; one real start says more than a list of features would.

use crate::{
    accel::Accelerator,
    binary::Qemu,
    hardware::{Boot, Display, MachineConfig},
};
use godwit_model::{
    doctor::Check,
    units::Bytes,
    vm::{DEFAULT_CPU_MODEL, DEFAULT_MACHINE},
};
use std::{
    fs, io,
    io::{BufRead, BufReader},
    os::unix::{fs::DirBuilderExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the smallest VM of the contract, waits for its monitor's greeting, and ends it.
pub(super) fn start(qemu: &Qemu, accelerator: Accelerator) -> Check {
    const ID: &str = "qemu.start";
    const TITLE: &str = "A VM starts";
    match try_start(qemu, accelerator) {
        Ok(()) => Check::ok(
            ID,
            TITLE,
            format!(
                "with {accelerator}, shared memory (memfd), the sandbox and CPU {DEFAULT_CPU_MODEL}"
            ),
        ),
        Err(reason) => Check::failed(
            ID,
            TITLE,
            reason,
            "see the message of QEMU; a QEMU without seccomp or memfd, or a host that forbids them, \
             cannot be used",
        ),
    }
}

fn try_start(qemu: &Qemu, accelerator: Accelerator) -> Result<(), String> {
    let folder = Folder::create().map_err(|error| format!("no folder for sockets: {error}"))?;
    let config = config(&folder.0, accelerator);
    let arguments = config.command_line().map_err(|error| error.to_string())?;
    let child = Command::new(&qemu.system)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", qemu.system.display()))?;
    wait_for_greeting(Running(child), &config.qmp_socket)
}

fn wait_for_greeting(mut qemu: Running, socket: &Path) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if matches!(qemu.0.try_wait(), Ok(Some(_))) {
            return Err(format!("QEMU ended: {}", qemu.last_words()));
        }
        if greets(socket).unwrap_or(false) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!(
        "QEMU's monitor did not answer within {} s",
        PATIENCE.as_secs()
    ))
}

fn greets(socket: &Path) -> io::Result<bool> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.contains("QMP"))
}

fn config(folder: &Path, accelerator: Accelerator) -> MachineConfig {
    MachineConfig {
        name: "doctor".into(),
        uuid: Uuid::nil(),
        memory: Bytes::mib(16),
        vcpus: 1,
        cpu_model: DEFAULT_CPU_MODEL.into(),
        machine_type: DEFAULT_MACHINE.into(),
        accelerator,
        disks: vec![],
        media: vec![],
        nics: vec![],
        display: Display::None,
        boot: Boot::Disk,
        serial_socket: folder.join("serial"),
        serial_log: None,
        qmp_socket: folder.join("qmp"),
        incoming: false,
    }
}

/// A QEMU that is killed and reaped when this is over.
struct Running(Child);

impl Running {
    /// What an ended QEMU said.
    fn last_words(&mut self) -> String {
        let text = self.0.stderr.take().map(io::read_to_string);
        let text = text.and_then(Result::ok).unwrap_or_default();
        let last = text.lines().last().unwrap_or("it said nothing");
        last.chars().take(300).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has been reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of our own that is removed again.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("godwit-doctor-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It holds two dead sockets at most.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::doctor::CheckState;

    #[test]
    fn a_qemu_that_ends_at_once_is_quoted() {
        let mut qemu = Qemu::find().unwrap();
        qemu.system = "/bin/ls".into();
        let check = start(&qemu, Accelerator::Tcg);
        assert_eq!(check.state, CheckState::Failed);
        assert!(check.found.contains("ls"), "{}", check.found);
    }
}
