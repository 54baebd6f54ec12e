//! QEMU processes, as the keeper has them: started, watched until they are gone, killed.
//!
//! "Gone" is the keeper's word (it is their parent and has reaped them), or, after the keeper
//! itself was replaced, the free lock that each process held. Only then may a VM's epoch be
//! released.

use crate::timings;
use godwit_lease::keeper::{
    Client, ClientError, ExitStatus, KeeperEvent, KillSignal, RefusalCode, Running, Seen, Spawn,
    vm_process_gone,
};
use godwit_model::ids::VmId;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What is known of ends.
#[derive(Debug, Default)]
struct Ends {
    /// The last process of each VM that ended, and how.
    last: HashMap<VmId, (u32, String)>,
}

/// All QEMU processes of this host.
#[derive(Clone)]
pub struct Processes {
    keeper: Client,
    run_dir: PathBuf,
    ends: Arc<Mutex<Ends>>,
    /// How many keepers were seen after the first one.
    replaced: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

impl Processes {
    /// Connects to the keeper of the run directory, or starts one, and begins to watch.
    ///
    /// # Errors
    /// If there is none and none can be started.
    pub async fn start(exe: &Path, run_dir: &Path) -> Result<Self, ClientError> {
        let keeper = Client::connect_or_start(exe, run_dir).await?;
        let processes = Self {
            keeper,
            run_dir: run_dir.to_owned(),
            ends: Arc::default(),
            replaced: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        };
        tokio::spawn(processes.clone().watch());
        Ok(processes)
    }

    async fn watch(self) {
        let mut exits = self.keeper.exits(Seen::default());
        loop {
            match exits.next().await {
                Ok(KeeperEvent::Exited(exit)) => {
                    let how = describe(exit.status);
                    let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                    ends.last.insert(exit.vm, (exit.pid, how));
                    drop(ends);
                    self.changed.send_modify(|n| *n += 1);
                }
                Ok(KeeperEvent::Replaced { keeper }) => {
                    tracing::error!(%keeper, "the keeper was replaced: its VMs were killed");
                    self.replaced.send_modify(|n| *n += 1);
                    self.changed.send_modify(|n| *n += 1);
                }
                Err(error) => {
                    tracing::error!(%error, "the keeper cannot be watched");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// If the VM has one, or it cannot be started.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Process, ClientError> {
        let vm = spawn.vm;
        let keeper_count = *self.replaced.borrow();
        let pid = self.keeper.spawn(spawn).await?;
        Ok(self.process(vm, pid, keeper_count))
    }

    /// What runs.
    ///
    /// # Errors
    /// If the keeper cannot be asked.
    pub async fn list(&self) -> Result<Vec<Running>, ClientError> {
        self.keeper.list().await
    }

    /// A process found in the list.
    #[must_use]
    pub fn adopt(&self, running: &Running) -> Process {
        let keeper_count = *self.replaced.borrow();
        self.process(running.vm, running.pid, keeper_count)
    }

    /// Whether no process of this VM exists; unknown counts as existing.
    #[must_use]
    pub fn is_gone(&self, vm: VmId) -> bool {
        vm_process_gone(&self.run_dir, vm).unwrap_or(false)
    }

    fn process(&self, vm: VmId, pid: u32, keeper_count: u64) -> Process {
        Process {
            all: self.clone(),
            vm,
            pid,
            keeper_count,
        }
    }
}

/// A QEMU process.
#[derive(Clone)]
pub struct Process {
    all: Processes,
    vm: VmId,
    pid: u32,
    keeper_count: u64,
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it is gone, and says how it ended. May be dropped and called again.
    pub async fn gone(&self) -> String {
        let mut changed = self.all.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(how) = self.ended() {
                return how;
            }
            if *self.all.replaced.borrow() != self.keeper_count {
                return self.gone_with_its_keeper().await;
            }
            // The sender lives in `self.all`: this cannot end with an error.
            let _ = changed.changed().await;
        }
    }

    fn ended(&self) -> Option<String> {
        let ends = self.all.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, how) = ends.last.get(&self.vm)?;
        (*pid == self.pid).then(|| how.clone())
    }

    async fn gone_with_its_keeper(&self) -> String {
        while !self.all.is_gone(self.vm) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        "it was killed with its keeper".to_owned()
    }

    /// Kills it and waits until it is gone; how it ended.
    ///
    /// # Errors
    /// If it does not go: stuck in the kernel, or the keeper does not answer.
    pub async fn kill(&self) -> Result<String, Stuck> {
        let killed = tokio::time::timeout(timings::KILLED, async {
            loop {
                match self.all.keeper.kill(self.vm, KillSignal::Kill).await {
                    Ok(()) => break,
                    Err(ClientError::Refused(refused))
                        if refused.code == RefusalCode::NotRunning =>
                    {
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(vm = %self.vm, %error, "cannot kill yet");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
            self.gone().await
        });
        killed.await.map_err(|_| Stuck { pid: self.pid })
    }

    /// Waits until it is gone by itself, and kills it when it has not gone in time.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub async fn gone_within(&self, patience: Duration) -> Result<String, Stuck> {
        match tokio::time::timeout(patience, self.gone()).await {
            Ok(how) => Ok(how),
            Err(_) => self.kill().await,
        }
    }
}

/// A process that does not go.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} was killed and is still there after {} s: it is stuck in the kernel (storage that hangs?); the host may need a reset", timings::KILLED.as_secs())]
pub struct Stuck {
    pid: u32,
}

fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(0) => "QEMU has ended".to_owned(),
        ExitStatus::Code(code) => format!("QEMU ended with status {code}"),
        ExitStatus::Signal(signal) => format!("QEMU was ended by signal {signal}"),
    }
}
