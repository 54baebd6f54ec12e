//! The keeper's children, and how the former ones ended.

use super::{
    launch::launch,
    protocol::{Exit, ExitStatus, KillSignal, RefusalCode, Refused, Running, Seen, Spawn},
};
use godwit_model::ids::VmId;
use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, VecDeque},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Child,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// An agent that was away longer than this many exits has other worries.
const EXITS_KEPT: usize = 4096;

pub(super) struct Children {
    /// Tells this keeper from the one before and after.
    pub(super) keeper: Uuid,
    run_dir: PathBuf,
    alive: BTreeMap<VmId, (Running, Child)>,
    exits: VecDeque<Exit>,
    last_seq: u64,
}

impl Children {
    pub(super) fn new(run_dir: PathBuf) -> Self {
        Self {
            keeper: Uuid::new_v4(),
            run_dir,
            alive: BTreeMap::new(),
            exits: VecDeque::new(),
            last_seq: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn list(&self) -> Vec<Running> {
        self.alive
            .values()
            .map(|(running, _)| running.clone())
            .collect()
    }

    pub(super) fn spawn(&mut self, spawn: Spawn) -> Result<u32, Refused> {
        if let Some((running, _)) = self.alive.get(&spawn.vm) {
            let text = format!(
                "VM {} runs already as process {}: adopt it, or kill it first",
                spawn.vm, running.pid
            );
            return Err(Refused::new(RefusalCode::AlreadyRunning, text));
        }
        let child = launch(&self.run_dir, &spawn)?;
        let pid = child.id();
        let running = Running {
            vm: spawn.vm,
            pid,
            tag: spawn.tag,
            started_at: OffsetDateTime::now_utc(),
        };
        self.alive.insert(spawn.vm, (running, child));
        Ok(pid)
    }

    pub(super) fn kill(&self, vm: VmId, signal: KillSignal) -> Result<(), Refused> {
        let Some((running, _)) = self.alive.get(&vm) else {
            let text = format!("VM {vm} has no process here: ask for the list");
            return Err(Refused::new(RefusalCode::NotRunning, text));
        };
        // The pid cannot have been reused: it is not reaped while it is in `alive`.
        let pid = pid(running);
        let sent = match signal {
            KillSignal::Terminate => kill(pid, Signal::SIGTERM),
            KillSignal::Kill => killpg(pid, Signal::SIGKILL),
        };
        sent.map_err(|e| Refused::new(RefusalCode::NotRunning, format!("cannot signal {pid}: {e}")))
    }

    pub(super) fn kill_all(&self) {
        for vm in self.alive.keys() {
            // Whatever has just ended will be reaped.
            let _ = self.kill(*vm, KillSignal::Kill);
        }
    }

    /// Takes in all that have ended; says how they did.
    pub(super) fn reap(&mut self) -> Vec<Exit> {
        let ended: Vec<VmId> = self
            .alive
            .iter()
            .filter(|(_, (r, _))| ended(r))
            .map(|(vm, _)| *vm)
            .collect();
        let mut news = Vec::new();
        for vm in ended {
            let Some((running, mut child)) = self.alive.remove(&vm) else {
                continue;
            };
            // Helpers that it left behind would keep its files and its lock; its group's number
            // is still its own, as it is not reaped yet.
            let _ = killpg(pid(&running), Signal::SIGKILL);
            let status = child.wait().map_or(ExitStatus::Code(-1), |status| {
                let signal = status.signal().map(ExitStatus::Signal);
                signal.unwrap_or(ExitStatus::Code(status.code().unwrap_or(-1)))
            });
            self.last_seq += 1;
            let exit = Exit {
                seq: self.last_seq,
                vm,
                pid: running.pid,
                tag: running.tag,
                status,
                at: OffsetDateTime::now_utc(),
            };
            if self.exits.len() == EXITS_KEPT {
                self.exits.pop_front();
            }
            self.exits.push_back(exit.clone());
            news.push(exit);
        }
        news
    }

    pub(super) fn exits_after(&self, seen: Seen) -> impl Iterator<Item = &Exit> {
        let after = if seen.keeper == Some(self.keeper) {
            seen.seq
        } else {
            0
        };
        self.exits.iter().filter(move |exit| exit.seq > after)
    }
}

fn pid(running: &Running) -> Pid {
    // Cannot wrap: process ids fit 22 bits (proc_sys_kernel(5), pid_max).
    Pid::from_raw(running.pid.cast_signed())
}

/// Whether it has ended, without reaping it.
fn ended(running: &Running) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(
        waitid(Id::Pid(pid(running)), flags),
        Ok(WaitStatus::StillAlive)
    )
}
