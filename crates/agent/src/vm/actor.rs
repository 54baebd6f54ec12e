//! The task that owns one VM.
//!
//! ```text
//!            start (claim won)                    guest powers off, stop, kill, crash
//!  Stopped ───────────────────► Up(Running ⇄ Paused, IoError → Stopping) ─────────► Stopped
//!     │ delete, forget             │ outgoing: the migration owns the VM while it runs
//!     ▼                            ▼ moved
//!   (ends)                       (ends)
//! ```
//! The epoch is released when the process is gone, and not before.

use super::launch;
use super::machine::RunFiles;
pub use super::state::{Activity, Machine, State};
use super::{Message, Slot, delete, power};
use crate::answer::{Answer, conflict, tell, whole};
use crate::host::Host;
use crate::migration::source;
use crate::record::{MigrationRecord, VmRecord};
use crate::timings;
use godwit_api::agent::{VmSockets, VmView};
use godwit_api::error::ErrorCode;
use godwit_lease::{Claim, VmHome};
use godwit_model::ids::MigrationId;
use godwit_model::vm::{VmDefinition, VmState};
use godwit_qemu::monitor::RunState;
use godwit_qemu::qmp::{Event, EventKind};
use std::future::pending;
use std::sync::Arc;
use tokio::time::Instant;

/// See the module's description.
pub struct Actor {
    /// The host.
    pub host: Arc<Host>,
    /// What the VM is.
    pub definition: VmDefinition,
    /// Where it lives.
    pub home: VmHome,
    /// What the actor is asked.
    pub slot: Slot,
    /// What is shown: set through [`Self::show`].
    shown: VmView,
    /// Why the process will end, when that is known beforehand.
    pub expected_end: Option<String>,
}

impl Actor {
    /// An actor for a VM that is not shown yet.
    ///
    /// # Errors
    /// If this host lacks its datastore.
    pub fn new(
        host: &Arc<Host>,
        definition: VmDefinition,
        slot: Slot,
        state: VmState,
    ) -> Answer<Self> {
        let home = match host.home(&definition) {
            Ok(home) => home,
            Err(error) => {
                host.registry.close(definition.id, &slot);
                return Err(error);
            }
        };
        let shown = VmView {
            definition: definition.clone(),
            state,
            epoch: None,
            newest_epoch: None,
            pid: None,
            migration: None,
            problem: None,
            sockets: VmSockets::default(),
        };
        host.board.show(shown.clone());
        Ok(Self {
            host: Arc::clone(host),
            definition,
            home,
            slot,
            shown,
            expected_end: None,
        })
    }

    /// An actor for a VM without QEMU.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn stopped(host: &Arc<Host>, definition: VmDefinition, slot: Slot) -> Answer<Ready> {
        let actor = Self::new(host, definition, slot, VmState::Stopped)?;
        Ok(Ready(actor, State::Stopped { unreleased: None }))
    }

    /// What is shown now.
    #[must_use]
    pub fn view(&self) -> VmView {
        self.shown.clone()
    }

    /// Shows something else.
    pub fn show(&mut self, change: impl FnOnce(&mut VmView)) {
        change(&mut self.shown);
        self.host.board.show(self.shown.clone());
    }

    /// Shows a machine that is up.
    pub fn show_up(&mut self, machine: &Machine, state: VmState) {
        let sockets = RunFiles::new(&self.host.config.run_dir, self.definition.id).sockets();
        let (epoch, pid) = (machine.claim.epoch(), machine.process.pid());
        self.show(|view| {
            view.state = state;
            view.epoch = Some(epoch);
            view.newest_epoch = Some(epoch);
            view.pid = Some(pid);
            view.migration = None;
            view.sockets = sockets;
        });
        self.slot.show_monitor(Some(machine.monitor.clone()));
    }

    /// Shows a migration that goes on.
    pub fn show_migration(&mut self, id: MigrationId, state: VmState, problem: Option<String>) {
        self.show(|view| {
            view.state = state;
            view.migration = Some(id);
            view.problem = problem;
        });
    }

    /// Tells people.
    pub fn event(&self, kind: &str, message: impl AsRef<str>) {
        let name = &self.definition.name;
        let message = format!("VM {name}: {}", message.as_ref());
        self.host
            .board
            .event(kind, Some(self.definition.id), message);
    }

    /// Writes down what must be remembered.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub async fn remember(
        &self,
        claim: Option<&Claim>,
        migration: Option<MigrationRecord>,
    ) -> Answer<()> {
        let record = VmRecord {
            definition: self.definition.clone(),
            epoch: claim.map(Claim::epoch),
            migration,
        };
        self.host.records.write(&record).await
    }

    /// Removes every trace of the VM from this host, except its files on datastores.
    pub async fn leave(&mut self) {
        self.host.records.remove(self.definition.id).await;
        self.slot.show_monitor(None);
        self.host.board.forget(self.definition.id);
        self.host.registry.close(self.definition.id, &self.slot);
    }

    async fn run(mut self, mut state: State) {
        loop {
            state = match state {
                State::Stopped { unreleased } => self.stopped_turn(unreleased).await,
                State::Up { machine, activity } => self.up_turn(machine, activity).await,
                State::Left => break,
            };
        }
        self.host.registry.close(self.definition.id, &self.slot);
    }

    async fn stopped_turn(&mut self, unreleased: Option<Claim>) -> State {
        let Some(claim) = unreleased else {
            let Some(message) = self.slot.inbox.recv().await else {
                return State::Left;
            };
            return self.stopped_message(message).await;
        };
        let unreleased = power::release(self, claim).await;
        if unreleased.is_some() {
            tokio::time::sleep(timings::STORAGE_AGAIN).await;
            while let Ok(message) = self.slot.inbox.try_recv() {
                message.refuse("the VM has ended, but its datastore does not answer: wait until its epoch can be released");
            }
        }
        State::Stopped { unreleased }
    }

    async fn stopped_message(&mut self, message: Message) -> State {
        let stopped = State::Stopped { unreleased: None };
        match message {
            Message::Power(request, reply) => {
                return power::while_stopped(self, request, reply).await;
            }
            Message::Delete(reply) => {
                let deleted = delete::delete(self).await;
                let left = deleted.is_ok();
                drop(reply.send(deleted));
                if left {
                    return State::Left;
                }
            }
            Message::Forget(reply) => {
                self.leave().await;
                drop(reply.send(Ok(())));
                return State::Left;
            }
            Message::Outgoing(_, reply) => {
                let text = format!(
                    "VM {} is stopped: start it where it shall run",
                    self.definition.name
                );
                drop(reply.send(Err(conflict(text))));
            }
        }
        stopped
    }

    async fn up_turn(&mut self, mut machine: Box<Machine>, mut activity: Activity) -> State {
        self.show_up(&machine, activity.shown());
        let deadline = match &activity {
            Activity::Stopping { until, .. } => Some(*until),
            _ => None,
        };
        tokio::select! {
            how = machine.process.gone() => return self.ended(*machine, activity, how).await,
            () = at(deadline) => {
                self.expected_end = Some("it did not power off in time and was killed".to_owned());
                // A process that does not go is shown by the call itself, and tried again.
                let _ = power::kill_now(self, &machine).await;
            }
            event = machine.events.recv() => {
                self.on_event(&machine, &mut activity, event.ok()).await;
            }
            message = self.slot.inbox.recv() => match message {
                Some(Message::Outgoing(request, reply)) => {
                    return source::run(self, machine, activity, *request, reply).await;
                }
                Some(Message::Power(request, reply)) => {
                    power::while_up(self, &machine, &mut activity, request, reply).await;
                }
                Some(other) => other.refuse("the VM has a running QEMU: stop it first"),
                None => pending().await,
            }
        }
        State::Up { machine, activity }
    }

    /// QEMU says something; `None`: some events were lost, or its monitor is closing.
    async fn on_event(&mut self, machine: &Machine, activity: &mut Activity, event: Option<Event>) {
        match event.as_ref().map(Event::kind) {
            Some(EventKind::Shutdown { guest: true, .. }) => {
                self.expected_end = Some("the guest powered off".to_owned());
            }
            Some(EventKind::IoError {
                node,
                no_space,
                reason,
            }) => {
                let advice = if no_space {
                    "make room on its datastore"
                } else {
                    "see to its datastore"
                };
                let problem = format!("{node} answered: {reason}; {advice}, then resume the VM");
                if self.shown.problem.as_ref() != Some(&problem) {
                    self.event("vm.io_error", &problem);
                }
                self.show(|view| view.problem = Some(problem));
                if !matches!(activity, Activity::Stopping { .. }) {
                    *activity = Activity::IoError;
                }
            }
            Some(EventKind::Stop | EventKind::Resume) => self.look(machine, activity).await,
            None => {
                // A closed channel would give `None` without end until the process is gone.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                self.look(machine, activity).await;
            }
            Some(_) => {}
        }
    }

    /// Asks QEMU what the guest does.
    pub async fn look(&mut self, machine: &Machine, activity: &mut Activity) {
        if matches!(activity, Activity::Stopping { .. }) {
            return;
        }
        let Ok(status) = machine.monitor.status().await else {
            return;
        };
        *activity = match status.state {
            RunState::Running | RunState::Suspended => Activity::Running,
            RunState::IoError => Activity::IoError,
            RunState::InternalError | RunState::GuestPanicked => {
                self.show(|view| {
                    view.problem = Some("the guest has crashed: kill and start it".to_owned());
                });
                Activity::Paused
            }
            _ => Activity::Paused,
        };
        if matches!(activity, Activity::Running) {
            self.show(|view| view.problem = None);
        }
    }

    /// QEMU is gone.
    pub async fn ended(&mut self, machine: Machine, activity: Activity, how: String) -> State {
        let files = RunFiles::new(&self.host.config.run_dir, self.definition.id);
        match self.expected_end.take() {
            Some(why) => self.event("vm.stopped", why),
            None => {
                let words = files.last_words();
                let said = if words.is_empty() {
                    String::new()
                } else {
                    format!("; QEMU said: {words}")
                };
                self.event("vm.crashed", format!("{how} unexpectedly{said}"));
            }
        }
        launch::clear(&self.host, &self.definition).await;
        let unreleased = power::release(self, machine.claim).await;
        if let Activity::Stopping { waiting, .. } = activity {
            for reply in waiting {
                drop(reply.send(Ok(self.view())));
            }
        }
        State::Stopped { unreleased }
    }

    /// What to do about a claim that was refused: a VM that is another host's is not kept here.
    pub async fn after_refused_claim(&mut self, error: &godwit_lease::ClaimError) -> State {
        let ours = &self.host.config.id;
        let home = self.home.clone();
        let newest = self.host.lease(move |lease| {
            lease
                .newest(&home)
                .map_err(|error| tell(ErrorCode::Unavailable, &error))
        });
        let newest = newest.await.ok().flatten();
        let elsewhere = newest.as_ref().is_some_and(|newest| {
            newest.deleted() || (!newest.released && newest.record.owner.host != *ours)
        });
        tracing::info!(vm = %self.definition.id, error = whole(error), elsewhere, "start refused");
        if elsewhere {
            self.leave().await;
            return State::Left;
        }
        self.show(|view| view.newest_epoch = newest.map(|newest| newest.epoch()));
        State::Stopped { unreleased: None }
    }
}

/// An actor with its first state, not running yet.
pub struct Ready(pub Actor, pub State);

impl Ready {
    /// Runs it as a task of its own.
    pub fn spawn(self) {
        tokio::spawn(self.0.run(self.1));
    }

    /// Runs it in the caller's task.
    pub async fn run(self) {
        self.0.run(self.1).await;
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
