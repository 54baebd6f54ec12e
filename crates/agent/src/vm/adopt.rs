//! A new life of the agent: finds what runs, and goes on with it.
//!
//! | QEMU | record | newest epoch | what is done |
//! |---|---|---|---|
//! | runs | none or plain | ours | adopted |
//! | any | none or plain | not ours | killed: another host may run the VM |
//! | gone | any | ours | the epoch is released: the VM has stopped |
//! | gone | any | not ours | forgotten, unless it is released: then shown as stopped |
//! | not all sent | source | | its migration is ended, the VM runs on |
//! | all sent | source | | the epoch is asked for, and decides |
//! | loaded | destination | ours | continued |
//! | any | destination | not ours | destroyed |
//!
//! While the storage does not answer, nothing is done and the VM is shown as held.

use super::actor::{Activity, Actor, Machine, Ready, State};
use super::launch::{self, Qemu};
use super::machine::RunFiles;
use crate::answer::{Answer, Tell};
use crate::host::Host;
use crate::migration::{destination, first_view, source};
use crate::processes::Process;
use crate::record::{MigrationRecord, VmRecord};
use crate::timings;
use godwit_api::agent::{MigrationOptions, OutgoingRequest, PeerRef, Phase, Role};
use godwit_api::error::ErrorCode;
use godwit_lease::keeper::Running;
use godwit_lease::{Claim, Ownership, Purpose, VmHome, newest_definition};
use godwit_model::epoch::Epoch;
use godwit_model::ids::{MigrationId, VmId};
use godwit_model::migration::Outcome;
use godwit_model::vm::{VmDefinition, VmState};
use godwit_qemu::monitor::{Monitor, RunState};
use godwit_qemu::qmp::StreamState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the start waits for VMs that are hard to adopt; they go on being adopted after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adopts everything; returns when it is done, or when it takes too long.
///
/// # Errors
/// If the keeper does not say what runs.
pub async fn adopt_all(host: &Arc<Host>) -> Answer<()> {
    let running = host.processes.list().await.told(ErrorCode::Unavailable)?;
    let mut records: HashMap<VmId, VmRecord> = HashMap::new();
    for record in host.records.all() {
        records.insert(record.definition.id, record);
    }
    for each in &running {
        if !records.contains_key(&each.vm)
            && let Some(record) = lost_record(host, each).await
        {
            records.insert(each.vm, record);
        }
    }
    let mut adopted = Vec::new();
    for (vm, record) in records {
        let process = running.iter().find(|each| each.vm == vm);
        let process = process.map(|each| host.processes.adopt(each));
        let (done, waiting) = oneshot::channel();
        tokio::spawn(adopt(Arc::clone(host), record, process, done));
        adopted.push(waiting);
    }
    let all = futures::future::join_all(adopted);
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("some VMs are not adopted yet: their datastores do not answer");
    }
    Ok(())
}

/// A process without a record: its definition lies on its datastore.
async fn lost_record(host: &Host, running: &Running) -> Option<VmRecord> {
    let paths: Vec<_> = host
        .config
        .datastores
        .iter()
        .map(|d| d.path.clone())
        .collect();
    let vm = running.vm;
    let find = move || {
        let homes = paths.iter().map(|path| VmHome::new(path, vm));
        homes
            .filter_map(|home| newest_definition::<VmDefinition>(&home).ok())
            .next()
    };
    let found = tokio::task::spawn_blocking(find).await.ok().flatten();
    if found.is_none() {
        let text = format!(
            "process {} of VM {vm} ({}) has no record and no definition: look at it",
            running.pid, running.tag
        );
        host.board.event("vm.unknown", Some(vm), text);
    }
    found.map(|found| VmRecord::stopped(found.content))
}

async fn adopt(
    host: Arc<Host>,
    record: VmRecord,
    process: Option<Process>,
    done: oneshot::Sender<()>,
) {
    let vm = record.definition.id;
    let Some(slot) = host.registry.open(vm) else {
        return;
    };
    let state = if process.is_some() {
        VmState::Held
    } else {
        VmState::Stopped
    };
    let actor = match Actor::new(&host, record.definition.clone(), slot, state) {
        Ok(actor) => actor,
        Err(error) => {
            host.board.event("vm.unknown", Some(vm), error.message);
            return;
        }
    };
    let mut adoption = Adoption { actor, record };
    let (claim, newest) = adoption.ask_lease().await;
    let state = match process {
        None => adoption.without_process(claim, newest).await,
        Some(process) => adoption.with_process(process, claim, done).await,
    };
    Ready(adoption.actor, state).run().await;
}

struct Adoption {
    actor: Actor,
    record: VmRecord,
}

impl Adoption {
    /// What the lease says; asked until it answers.
    async fn ask_lease(&mut self) -> (Option<Claim>, Option<Ownership>) {
        loop {
            let home = self.actor.home.clone();
            let asked = self.actor.host.lease(move |lease| {
                lease
                    .release_former_boot(&home)
                    .told(ErrorCode::Unavailable)?;
                let held = lease.held(&home).told(ErrorCode::Unavailable)?;
                Ok((held, lease.newest(&home).told(ErrorCode::Unavailable)?))
            });
            match asked.await {
                Ok(answer) => return answer,
                Err(error) => self.actor.show(|view| view.problem = Some(error.message)),
            }
            tokio::time::sleep(timings::STORAGE_AGAIN).await;
            self.refuse_all();
        }
    }

    fn refuse_all(&mut self) {
        while let Ok(message) = self.actor.slot.inbox.try_recv() {
            message.refuse(
                "the agent has just started and has not adopted this VM yet: see its problem",
            );
        }
    }

    async fn without_process(&mut self, claim: Option<Claim>, newest: Option<Ownership>) -> State {
        launch::clear(&self.actor.host, &self.actor.definition).await;
        if let Some(claim) = claim {
            if claim.purpose().runs() && self.record.epoch.is_some() {
                self.actor
                    .event("vm.crashed", "its QEMU ended while the agent was away");
            }
            // Also where a migration had claimed: whether the VM ran here is not known, so it
            // is not given back but stopped, to be started afresh.
            return State::Stopped {
                unreleased: Some(claim),
            };
        }
        let number = newest.as_ref().map(Ownership::epoch);
        let incoming = matches!(
            self.record.migration,
            Some(MigrationRecord::Destination { .. })
        );
        let elsewhere = newest.is_some_and(|newest| newest.deleted() || !newest.released);
        if incoming || elsewhere {
            self.actor.leave().await;
            return State::Left;
        }
        self.actor.show(|view| {
            view.state = VmState::Stopped;
            view.newest_epoch = number;
            view.problem = None;
        });
        State::Stopped { unreleased: None }
    }

    async fn with_process(
        &mut self,
        process: Process,
        claim: Option<Claim>,
        done: oneshot::Sender<()>,
    ) -> State {
        let Some(qemu) = self.connect(&process).await else {
            return self.without_process(claim, None).await;
        };
        drop(done);
        match (self.record.migration.clone(), claim) {
            (
                Some(MigrationRecord::Source {
                    id,
                    epoch,
                    destination,
                }),
                claim,
            ) => self.source(qemu, claim, id, epoch, destination).await,
            (Some(MigrationRecord::Destination { .. }) | None, None) => self.not_ours(qemu).await,
            (Some(MigrationRecord::Destination { id, epoch, source }), Some(claim)) => {
                self.destination(qemu, claim, id, epoch, source).await
            }
            (None, Some(claim)) => self.running(qemu, claim).await,
        }
    }

    /// The monitor; none if the process ends first.
    async fn connect(&mut self, process: &Process) -> Option<Qemu> {
        let socket = RunFiles::new(&self.actor.host.config.run_dir, self.actor.definition.id).qmp();
        loop {
            let connected = tokio::select! {
                connected = Monitor::connect(&socket, timings::QEMU_STARTS) => connected,
                _ = process.gone() => return None,
            };
            match connected {
                Ok(monitor) => {
                    return Some(Qemu {
                        process: process.clone(),
                        events: monitor.events(),
                        monitor,
                    });
                }
                Err(error) => self
                    .actor
                    .show(|view| view.problem = Some(error.to_string())),
            }
            self.refuse_all();
            tokio::time::sleep(timings::STORAGE_AGAIN).await;
        }
    }

    /// A VM that this host runs by its claim.
    async fn running(&mut self, qemu: Qemu, claim: Claim) -> State {
        let status = qemu.monitor.status().await.ok();
        // The former life died between starting QEMU and letting it run, by this same claim.
        if status.is_some_and(|status| status.state == RunState::Prelaunch)
            && let Err(error) = qemu.monitor.cont().await
        {
            tracing::warn!(vm = %self.actor.definition.id, %error, "a VM that was being started");
        }
        if let Purpose::Activate { migration } = claim.purpose() {
            self.remember_arrival(*migration);
        }
        self.actor.show(|view| view.problem = None);
        self.actor
            .event("vm.adopted", format!("adopted, epoch {}", claim.epoch()));
        if let Err(error) = self.actor.remember(Some(&claim), None).await {
            tracing::warn!(error = error.message, "the VM's record is out of date");
        }
        let machine = Box::new(Machine::new(qemu, claim));
        let mut activity = Activity::Paused;
        self.actor.look(&machine, &mut activity).await;
        State::Up { machine, activity }
    }

    /// The source of the migration by which the VM came may still wait for the word.
    fn remember_arrival(&self, id: MigrationId) {
        let view = first_view(id, self.actor.definition.id, Role::Destination);
        if let Ok(tracker) = self.actor.host.migrations.begin(view) {
            tracker.show(|view| {
                view.phase = Phase::Running;
                view.outcome = Some(Outcome::Moved);
            });
        }
    }

    /// A QEMU without a right to run: an incoming one that was not claimed for, or one whose VM
    /// is another host's by now.
    async fn not_ours(&mut self, qemu: Qemu) -> State {
        self.actor.event(
            "vm.destroyed",
            "this host does not own its newest epoch: its QEMU here is ended",
        );
        while let Err(error) =
            launch::destroy(&self.actor.host, &self.actor.definition, &qemu.process).await
        {
            self.actor.show(|view| view.problem = Some(error.message));
            tokio::time::sleep(timings::STORAGE_AGAIN).await;
        }
        self.actor.leave().await;
        State::Left
    }

    async fn source(
        &mut self,
        qemu: Qemu,
        claim: Option<Claim>,
        id: MigrationId,
        epoch: Epoch,
        destination: PeerRef,
    ) -> State {
        // The relay has died with the former agent. If QEMU has not sent everything, the last
        // frame was never released, and this host's claim stands.
        let all_sent = self.all_sent(&qemu.monitor).await;
        match claim {
            // Won by the former life to take the VM back: nobody else can ever have it.
            Some(claim) if claim.epoch() >= epoch => self.run_on(qemu, claim).await,
            Some(claim) if !all_sent => self.run_on(qemu, claim).await,
            claim => {
                let request = request_of(self.actor.definition.id, id, epoch, destination);
                source::resume(&mut self.actor, qemu, claim, request).await
            }
        }
    }

    async fn all_sent(&self, monitor: &Monitor) -> bool {
        let state = monitor.status().await.map(|status| status.state);
        let stream = monitor.query_migrate().await.map(|info| info.status);
        match (state, stream) {
            (Ok(RunState::Postmigrate), _) | (_, Ok(StreamState::Completed)) => true,
            (Ok(_), Ok(_)) => false,
            // Not known: as if.
            _ => true,
        }
    }

    /// The VM stays here: its migration is over.
    async fn run_on(&mut self, qemu: Qemu, claim: Claim) -> State {
        if let Err(error) = source::make_run(&qemu.monitor).await {
            self.actor.event(
                "vm.problem",
                format!("could not be continued: {}", error.message),
            );
        }
        self.actor.event(
            "vm.migration_failed",
            "stays here: the agent was restarted during its migration",
        );
        self.running(qemu, claim).await
    }

    async fn destination(
        &mut self,
        qemu: Qemu,
        claim: Claim,
        id: MigrationId,
        epoch: Epoch,
        source: PeerRef,
    ) -> State {
        let ours = claim.epoch() == epoch && claim.purpose().migration() == Some(id);
        let state = qemu.monitor.status().await.map(|status| status.state);
        match state {
            // Loaded, verified and claimed, but not continued yet.
            Ok(RunState::Paused | RunState::Prelaunch | RunState::Inmigrate) if ours => {
                destination::resume(&mut self.actor, qemu, claim, id, source).await
            }
            _ if ours => self.running(qemu, claim).await,
            _ => self.not_ours(qemu).await,
        }
    }
}

/// The request that a migration began with, as far as its end needs it.
fn request_of(
    vm: VmId,
    migration: MigrationId,
    epoch: Epoch,
    destination: PeerRef,
) -> OutgoingRequest {
    OutgoingRequest {
        migration,
        vm,
        epoch,
        relay: destination.address,
        destination,
        prepare_ms: 0.0,
        options: MigrationOptions::default(),
        page_key: None,
    }
}
