//! VMs on this host. One task, the VM's [`actor`], owns each of them: its QEMU, its claim, its
//! state. Everybody else sends it messages and reads what it shows on the board.

pub mod actor;
pub mod adopt;
pub mod define;
mod delete;
pub mod launch;
pub mod machine;
mod power;
pub mod requirements;
pub mod state;

use crate::answer::{Answer, conflict, not_found};
use crate::host::Host;
use godwit_api::agent::{MigrationView, OutgoingRequest, PowerRequest, VmView};
use godwit_lease::{Lease, VmHome, newest_definition};
use godwit_model::ids::VmId;
use godwit_model::vm::VmDefinition;
use godwit_qemu::monitor::Monitor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Answer<T>>;

/// What an actor is asked.
pub enum Message {
    /// Start, stop, kill, pause, resume.
    Power(PowerRequest, Reply<VmView>),
    /// Remove the stopped VM and its files.
    Delete(Reply<()>),
    /// Move the VM away.
    Outgoing(Box<OutgoingRequest>, Reply<MigrationView>),
    /// Forget the stopped VM, files stay: it is another host's now.
    Forget(Reply<()>),
}

impl Message {
    /// Says no to whatever it is.
    pub fn refuse(self, why: &str) {
        let error = conflict(why);
        // Whoever does not wait any more does not need the answer.
        match self {
            Self::Power(_, reply) => drop(reply.send(Err(error))),
            Self::Delete(reply) | Self::Forget(reply) => drop(reply.send(Err(error))),
            Self::Outgoing(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// An actor's address.
#[derive(Clone)]
struct Handle {
    inbox: mpsc::Sender<Message>,
    monitor: Arc<Mutex<Option<Monitor>>>,
}

/// An actor's own end of its address.
pub struct Slot {
    /// What it is asked.
    pub inbox: mpsc::Receiver<Message>,
    monitor: Arc<Mutex<Option<Monitor>>>,
}

impl Slot {
    /// Shows the VM's monitor to those who read figures; none when QEMU is gone.
    pub fn show_monitor(&self, monitor: Option<Monitor>) {
        *self.monitor.lock().unwrap_or_else(PoisonError::into_inner) = monitor;
    }
}

/// The actors of this host.
#[derive(Default)]
pub struct Registry {
    handles: Mutex<HashMap<VmId, Handle>>,
}

impl Registry {
    /// Makes an address for a VM's actor; none if it has one.
    #[must_use]
    pub fn open(&self, vm: VmId) -> Option<Slot> {
        let mut handles = self.lock();
        if handles.contains_key(&vm) {
            return None;
        }
        let (sender, inbox) = mpsc::channel(16);
        let monitor = Arc::new(Mutex::new(None));
        let handle = Handle {
            inbox: sender,
            monitor: Arc::clone(&monitor),
        };
        handles.insert(vm, handle);
        Some(Slot { inbox, monitor })
    }

    /// Takes an address away: the VM is no longer here. Twice does no harm, also when the VM has
    /// come back meanwhile and has a new one.
    pub fn close(&self, vm: VmId, slot: &Slot) {
        let mut handles = self.lock();
        let same = |handle: &Handle| Arc::ptr_eq(&handle.monitor, &slot.monitor);
        if handles.get(&vm).is_some_and(same) {
            handles.remove(&vm);
        }
    }

    /// The monitor of a VM that has a QEMU.
    #[must_use]
    pub fn monitor(&self, vm: VmId) -> Option<Monitor> {
        let handle = self.lock().get(&vm).cloned()?;
        let monitor = handle
            .monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        monitor.clone()
    }

    /// Asks a VM's actor.
    ///
    /// # Errors
    /// If the VM is not here, or what the actor answers.
    pub async fn ask<T>(&self, vm: VmId, message: impl FnOnce(Reply<T>) -> Message) -> Answer<T> {
        let missing = || not_found(format!("VM {vm} is not on this host"));
        let handle = self.lock().get(&vm).cloned().ok_or_else(missing)?;
        let (reply, answer) = oneshot::channel();
        handle
            .inbox
            .send(message(reply))
            .await
            .map_err(|_| missing())?;
        answer.await.map_err(|_| missing())?
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, Handle>> {
        // Nothing that can panic half-way happens under the lock.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that a VM which lies on one of this host's datastores has an actor here.
///
/// # Errors
/// If no datastore of this host has it.
pub async fn load(host: &Arc<Host>, vm: VmId) -> Answer<()> {
    if host.board.vm(vm).is_some() {
        return Ok(());
    }
    let paths: Vec<_> = host
        .config
        .datastores
        .iter()
        .map(|d| d.path.clone())
        .collect();
    let lease = Arc::clone(&host.lease);
    let find = move || {
        let homes = paths.iter().map(|path| VmHome::new(path, vm));
        homes.filter(|home| home.dir().is_dir()).find_map(|home| {
            let found = newest_definition::<VmDefinition>(&home).ok()?;
            let newest = lease.newest(&home).ok().flatten();
            Some((found.content, newest.map(|newest| newest.epoch())))
        })
    };
    let found = tokio::task::spawn_blocking(find).await.ok().flatten();
    let (definition, newest) = found.ok_or_else(|| {
        not_found(format!(
            "VM {vm} is not on this host, and none of its datastores holds it"
        ))
    })?;
    if let Some(slot) = host.registry.open(vm) {
        let mut ready = actor::Actor::stopped(host, definition, slot)?;
        ready.0.show(|view| view.newest_epoch = newest);
        ready.spawn();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_given_once_and_closed_by_its_owner_only() {
        let registry = Registry::default();
        let vm = VmId::random();
        let former = registry.open(vm).unwrap();
        assert!(registry.open(vm).is_none());
        registry.close(vm, &former);
        let _latter = registry.open(vm).unwrap();
        registry.close(vm, &former);
        assert!(registry.open(vm).is_none(), "the new owner keeps it");
        let error = registry
            .ask(VmId::random(), Message::Delete)
            .await
            .unwrap_err();
        assert_eq!(error.code, godwit_api::error::ErrorCode::NotFound);
    }
}
