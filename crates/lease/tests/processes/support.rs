//! Running this program in its other roles, and waiting for things without guessing how long
//! a busy machine takes.

use godwit_lease::keeper::{Client, Exit, Exits, KeeperEvent, Spawn};
use godwit_model::ids::VmId;
use std::{
    env, fs,
    future::Future,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take before it counts as never. Only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub fn this_program() -> PathBuf {
    env::current_exe().expect("Linux says which program runs")
}

/// Waits until `done`, or fails.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs an async test in the agent's kind of runtime.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let in_time = tokio::time::timeout(PATIENCE, test).await;
        in_time.expect("the test hangs")
    })
}

/// Whether a process exists that is not just a zombie.
pub fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// A run directory whose keeper, if any, is killed in the end.
pub struct RunDir(TempDir);

impl RunDir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn keeper_pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.path().join("keeper.pid")).ok()?;
        pid.trim().parse().ok()
    }

    pub async fn client(&self) -> Client {
        let client = Client::connect_or_start(&this_program(), self.path()).await;
        client.expect("a keeper")
    }

    /// A shell script as a VM.
    pub fn script(&self, script: &str) -> Spawn {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Spawn {
            vm: VmId::random(),
            argv,
            log: self.path().join("vm.log"),
            affinity: None,
            tag: "epoch 7".to_owned(),
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // By name, so that a pid that was used again by somebody else is left alone.
        if let Some(pid) = self.keeper_pid()
            && let Ok(command) = fs::read_to_string(format!("/proc/{pid}/cmdline"))
            && command.contains(&self.path().display().to_string())
        {
            kill(pid, 9);
        }
    }
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: sending a signal touches no memory.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Ends a process in the end, also of a test that failed before it came to that.
pub struct KillOnDrop(pub u32);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if alive(self.0) {
            kill(self.0, 9);
        }
    }
}

/// The next exit; a replaced keeper is a failure here.
pub async fn next_exit(exits: &mut Exits) -> Exit {
    match exits.next().await.expect("a keeper") {
        KeeperEvent::Exited(exit) => exit,
        KeeperEvent::Replaced { .. } => panic!("the keeper was replaced"),
    }
}
