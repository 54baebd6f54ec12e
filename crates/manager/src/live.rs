//! What the manager knows right now: hosts, VMs and who holds them. The durable part is
//! written to the store first; what agents report (states, figures) is only here.

use crate::store::{HostRow, Store, StoreError, TemplateRow, VmRow};
use godwit_api::agent::VmView;
use godwit_api::agent::client::AgentClient;
use godwit_api::farm::{Change, Connection, HostView, VmInfo};
use godwit_model::host::{HostFacts, HostStats};
use godwit_model::ids::{HostId, TaskId, VmId};
use godwit_model::units::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// Entries of the change feed that a slow reader may be behind.
const FEED: usize = 4096;

/// A host.
#[derive(Clone)]
pub struct LiveHost {
    /// What is kept.
    pub row: HostRow,
    /// Whether it answers.
    pub connection: Connection,
    /// Since when.
    pub since: OffsetDateTime,
    /// Its newest figures.
    pub stats: Option<HostStats>,
    /// How to call it.
    pub client: AgentClient,
}

/// A VM.
#[derive(Clone)]
pub struct LiveVm {
    /// What is kept.
    pub row: VmRow,
    /// What its host says of it.
    pub view: Option<VmView>,
    /// The task that holds it.
    pub task: Option<TaskId>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<HostId, LiveHost>,
    vms: HashMap<VmId, LiveVm>,
}

/// Everything known now, and the feed of its changes.
pub struct Live {
    store: Store,
    state: Mutex<State>,
    feed: broadcast::Sender<Change>,
}

impl Live {
    /// Reads the durable part.
    ///
    /// # Errors
    /// The database fails.
    pub fn load(
        store: Store,
        client: impl Fn(&HostRow) -> Option<AgentClient>,
    ) -> Result<Self, StoreError> {
        let mut state = State::default();
        for row in store.hosts()? {
            if let Some(client) = client(&row) {
                state
                    .hosts
                    .insert(row.id.clone(), LiveHost::new(row, client));
            }
        }
        for row in store.vms()? {
            state.vms.insert(
                row.definition.id,
                LiveVm {
                    row,
                    view: None,
                    task: None,
                },
            );
        }
        Ok(Self {
            store,
            state: Mutex::new(state),
            feed: broadcast::channel(FEED).0,
        })
    }

    /// No user of the lock can leave it half changed: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader of the change feed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.feed.subscribe()
    }

    /// Publishes a change; nobody listening is fine.
    pub fn publish(&self, change: Change) {
        let _ = self.feed.send(change);
    }

    /// Every host.
    #[must_use]
    pub fn hosts(&self) -> Vec<LiveHost> {
        self.lock().hosts.values().cloned().collect()
    }

    /// One host.
    #[must_use]
    pub fn host(&self, id: &HostId) -> Option<LiveHost> {
        self.lock().hosts.get(id).cloned()
    }

    /// Every VM.
    #[must_use]
    pub fn vms(&self) -> Vec<LiveVm> {
        self.lock().vms.values().cloned().collect()
    }

    /// One VM.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Option<LiveVm> {
        self.lock().vms.get(&id).cloned()
    }

    /// A VM by id or name.
    #[must_use]
    pub fn find_vm(&self, text: &str) -> Option<LiveVm> {
        let state = self.lock();
        match text.parse::<VmId>() {
            Ok(id) => state.vms.get(&id).cloned(),
            Err(_) => state
                .vms
                .values()
                .find(|vm| vm.row.definition.name == text)
                .cloned(),
        }
    }

    /// Adds or replaces a host.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_host(&self, row: HostRow, client: AgentClient) -> Result<(), StoreError> {
        self.store.put_host(&row)?;
        let id = row.id.clone();
        self.lock()
            .hosts
            .insert(id.clone(), LiveHost::new(row, client));
        self.publish_host(&id);
        Ok(())
    }

    /// Forgets a host.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_host(&self, id: &HostId) -> Result<(), StoreError> {
        self.store.remove_host(id)?;
        self.lock().hosts.remove(id);
        Ok(())
    }

    /// A host answers, or does no longer. Returns whether that is new.
    pub fn set_connection(&self, id: &HostId, connection: Connection) -> bool {
        let changed = {
            let mut state = self.lock();
            let Some(host) = state.hosts.get_mut(id) else {
                return false;
            };
            let changed = host.connection != connection;
            if changed {
                host.connection = connection;
                host.since = OffsetDateTime::now_utc();
            }
            changed
        };
        if changed {
            self.publish_host(id);
        }
        changed
    }

    /// What a host says of itself; kept when it differs.
    ///
    /// # Errors
    /// The database fails.
    pub fn set_facts(&self, id: &HostId, facts: HostFacts) -> Result<(), StoreError> {
        let row = {
            let mut state = self.lock();
            let Some(host) = state.hosts.get_mut(id) else {
                return Ok(());
            };
            if host.row.facts.as_ref() == Some(&facts) {
                return Ok(());
            }
            host.row.facts = Some(facts);
            host.row.clone()
        };
        self.store.put_host(&row)?;
        self.publish_host(id);
        Ok(())
    }

    /// A host's newest figures.
    pub fn set_stats(&self, id: &HostId, stats: HostStats) {
        if let Some(host) = self.lock().hosts.get_mut(id) {
            host.stats = Some(stats);
        }
    }

    /// Adds a VM; its name is reserved from now on.
    ///
    /// # Errors
    /// The name is taken, or the database fails.
    pub fn insert_vm(&self, row: VmRow) -> Result<(), StoreError> {
        self.store.insert_vm(&row)?;
        let id = row.definition.id;
        self.lock().vms.insert(
            id,
            LiveVm {
                row,
                view: None,
                task: None,
            },
        );
        self.publish_vm(id);
        Ok(())
    }

    /// Changes what is kept of a VM.
    ///
    /// # Errors
    /// The database fails.
    pub fn update_vm(&self, id: VmId, change: impl FnOnce(&mut VmRow)) -> Result<(), StoreError> {
        let row = {
            let mut state = self.lock();
            let Some(vm) = state.vms.get_mut(&id) else {
                return Ok(());
            };
            change(&mut vm.row);
            vm.row.clone()
        };
        self.store.update_vm(&row)?;
        self.publish_vm(id);
        Ok(())
    }

    /// Forgets a VM.
    ///
    /// # Errors
    /// The database fails.
    pub fn remove_vm(&self, id: VmId) -> Result<(), StoreError> {
        self.store.remove_vm(id)?;
        self.lock().vms.remove(&id);
        self.publish(Change::VmGone { id: id.to_string() });
        Ok(())
    }

    /// Gives a VM to a task, if none holds it.
    ///
    /// # Errors
    /// The task that holds it.
    pub fn hold_vm(&self, id: VmId, task: TaskId) -> Result<(), TaskId> {
        let mut state = self.lock();
        match state.vms.get_mut(&id) {
            Some(LiveVm {
                task: Some(other), ..
            }) if *other != task => Err(*other),
            Some(vm) => {
                vm.task = Some(task);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The task has ended with the VM.
    pub fn release_vm(&self, id: VmId, task: TaskId) {
        let released = match self.lock().vms.get_mut(&id) {
            Some(vm) if vm.task == Some(task) => {
                vm.task = None;
                true
            }
            _ => false,
        };
        if released {
            self.publish_vm(id);
        }
    }

    /// What a host says of a VM. A VM belongs to the host that runs it under the newest
    /// epoch; a host that only receives it does not have it yet. A VM that is not known
    /// (the database is an older copy) is taken into the inventory.
    ///
    /// # Errors
    /// The database fails.
    pub fn report_vm(&self, host: &HostId, mut view: VmView) -> Result<(), StoreError> {
        let id = view.definition.id;
        let Some(vm) = self.vm(id) else {
            return self.report_unknown(host, view);
        };
        // What only the manager goes by; a host learns it with the VM's next move.
        let known = &vm.row.definition;
        view.definition.application.clone_from(&known.application);
        let owner = vm.row.host == *host;
        let newer = view.epoch.is_some() && view.epoch > vm.row.newest_epoch;
        if !owner && !newer {
            return Ok(());
        }
        let newest = view.newest_epoch.max(view.epoch).max(vm.row.newest_epoch);
        let same_row =
            owner && vm.row.newest_epoch == newest && vm.row.definition == view.definition;
        let definition = view.definition.clone();
        if let Some(vm) = self.lock().vms.get_mut(&id) {
            vm.view = Some(view);
        }
        if same_row {
            self.publish_vm(id);
            return Ok(());
        }
        self.update_vm(id, |row| {
            row.host = host.clone();
            row.newest_epoch = newest;
            row.definition = definition;
        })
    }

    fn report_unknown(&self, host: &HostId, view: VmView) -> Result<(), StoreError> {
        if view.state == godwit_model::vm::VmState::Incoming {
            return Ok(());
        }
        let id = view.definition.id;
        let row = VmRow {
            definition: view.definition.clone(),
            host: host.clone(),
            newest_epoch: view.newest_epoch.max(view.epoch),
            made: true,
        };
        match self.insert_vm(row) {
            Ok(()) => {
                if let Some(vm) = self.lock().vms.get_mut(&id) {
                    vm.view = Some(view);
                }
                Ok(())
            }
            Err(StoreError::NameTaken(name)) => {
                tracing::warn!(%id, name, %host, "a VM of a name that is taken is not shown");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A host no longer has a VM.
    pub fn report_gone(&self, host: &HostId, id: VmId) {
        let mut state = self.lock();
        if let Some(vm) = state.vms.get_mut(&id)
            && vm.row.host == *host
        {
            vm.view = None;
        }
    }

    /// A host does not answer: nothing is known of what its VMs do.
    pub fn forget_views(&self, host: &HostId) {
        let mut state = self.lock();
        for vm in state.vms.values_mut().filter(|vm| vm.row.host == *host) {
            vm.view = None;
        }
    }

    /// A host as the API shows it.
    #[must_use]
    pub fn host_view(&self, id: &HostId) -> Option<HostView> {
        let state = self.lock();
        let host = state.hosts.get(id)?;
        let mine = || state.vms.values().filter(|vm| vm.row.host == *id);
        Some(HostView {
            id: id.clone(),
            address: host.row.address,
            connection: host.connection,
            since: host.since,
            facts: host.row.facts.clone(),
            stats: host.stats.clone(),
            vms: mine().count(),
            memory_committed: Bytes(mine().map(|vm| vm.row.definition.memory.0).sum()),
        })
    }

    /// A VM as the API shows it.
    #[must_use]
    pub fn vm_info(&self, id: VmId) -> Option<VmInfo> {
        let state = self.lock();
        let vm = state.vms.get(&id)?;
        Some(info(vm, state.hosts.get(&vm.row.host)))
    }

    /// Every VM as the API shows it, by name.
    #[must_use]
    pub fn vm_infos(&self) -> Vec<VmInfo> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .vms
            .values()
            .map(|vm| info(vm, state.hosts.get(&vm.row.host)))
            .collect();
        all.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        all
    }

    /// Templates that are there to be used.
    ///
    /// # Errors
    /// The database fails.
    pub fn templates(&self) -> Result<Vec<TemplateRow>, StoreError> {
        self.store.templates()
    }

    fn publish_vm(&self, id: VmId) {
        if let Some(vm) = self.vm_info(id) {
            self.publish(Change::Vm { vm });
        }
    }

    fn publish_host(&self, id: &HostId) {
        if let Some(host) = self.host_view(id) {
            self.publish(Change::Host { host });
        }
    }
}

impl LiveHost {
    fn new(row: HostRow, client: AgentClient) -> Self {
        let since = OffsetDateTime::now_utc();
        Self {
            row,
            connection: Connection::Joining,
            since,
            stats: None,
            client,
        }
    }
}

fn info(vm: &LiveVm, host: Option<&LiveHost>) -> VmInfo {
    let id = vm.row.definition.id;
    let stats = host.and_then(|host| host.stats.as_ref());
    let view = vm.view.as_ref();
    VmInfo {
        definition: vm.row.definition.clone(),
        host: vm.row.host.clone(),
        state: view.map(|view| view.state),
        epoch: view.and_then(|view| view.epoch),
        problem: view.and_then(|view| view.problem.clone()),
        migration: view.and_then(|view| view.migration),
        stats: stats.and_then(|stats| stats.vms.iter().find(|one| one.vm == id).cloned()),
        task: vm.task,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::vm;
    use godwit_api::agent::VmSockets;
    use godwit_model::vm::VmState;

    #[test]
    fn what_only_the_manager_knows_of_a_vm_outlives_its_hosts_reports() {
        let store = Store::in_memory().expect("a store");
        let live = Live::load(store.clone(), |_| None).expect("an empty farm");
        let host: HostId = "blade1".parse().expect("a name");
        let reported = vm();
        let id = reported.id;
        let mut definition = reported.clone();
        definition.application = Some("shop".into());
        live.insert_vm(VmRow {
            definition,
            host: host.clone(),
            newest_epoch: None,
            made: true,
        })
        .expect("a new name");
        let view = VmView {
            definition: reported,
            state: VmState::Running,
            epoch: None,
            newest_epoch: None,
            pid: None,
            migration: None,
            problem: None,
            sockets: VmSockets::default(),
        };
        live.report_vm(&host, view).expect("written down");
        let kept = |row: &VmRow| row.definition.application.as_deref() == Some("shop");
        assert!(kept(&live.vm(id).expect("known").row));
        assert!(store.vms().expect("rows").iter().all(kept));
    }
}
