//! What a VM does on this host, each state with what belongs to it.

use super::Reply;
use super::launch::Qemu;
use crate::processes::Process;
use godwit_api::agent::VmView;
use godwit_lease::Claim;
use godwit_model::vm::VmState;
use godwit_qemu::monitor::Monitor;
use godwit_qemu::qmp::Event;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// A QEMU that this host may run, and what it takes to do so.
pub struct Machine {
    /// The right to run it.
    pub claim: Claim,
    /// The process.
    pub process: Process,
    /// Its monitor.
    pub monitor: Monitor,
    /// What happens in it.
    pub events: broadcast::Receiver<Event>,
}

impl Machine {
    /// A QEMU with the claim it runs by.
    #[must_use]
    pub fn new(qemu: Qemu, claim: Claim) -> Self {
        Self {
            claim,
            process: qemu.process,
            monitor: qemu.monitor,
            events: qemu.events,
        }
    }

    /// The QEMU and the claim, apart.
    pub fn split(self) -> (Qemu, Claim) {
        let qemu = Qemu {
            process: self.process,
            monitor: self.monitor,
            events: self.events,
        };
        (qemu, self.claim)
    }
}

/// What the VM does, with what belongs to it.
pub enum State {
    /// No QEMU. The claim is one that could not be released yet.
    Stopped {
        /// To be released when the storage answers.
        unreleased: Option<Claim>,
    },
    /// A QEMU.
    Up {
        /// It.
        machine: Box<Machine>,
        /// What the guest does.
        activity: Activity,
    },
    /// The VM is no longer here: the actor ends.
    Left,
}

/// What a guest with a QEMU does.
pub enum Activity {
    /// It runs.
    Running,
    /// An operator paused it.
    Paused,
    /// A disk answered with an error.
    IoError,
    /// It was asked to power off.
    Stopping {
        /// When it is killed.
        until: Instant,
        /// Who waits for the end.
        waiting: Vec<Reply<VmView>>,
    },
}

impl Activity {
    /// The same for those who look.
    #[must_use]
    pub fn shown(&self) -> VmState {
        match self {
            Self::Running => VmState::Running,
            Self::Paused => VmState::Paused,
            Self::IoError => VmState::IoError,
            Self::Stopping { .. } => VmState::Stopping,
        }
    }
}
