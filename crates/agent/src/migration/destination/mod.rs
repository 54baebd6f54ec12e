//! The half of a migration at the host that gets the VM.
//!
//! Everything this host must have is asked for before anything is made; everything that was
//! made is undone unless the VM runs at the end. The record of the migration is durable before
//! the claim is tried for, so that the agent's next life knows what a claim was won for.

mod effects;
mod prepare;

use super::claiming::{Claimed, Claiming};
use super::{Control, Tracker, first_view};
use crate::answer::{Answer, conflict, internal};
use crate::host::Host;
use crate::timings;
use crate::urgent::Urgent;
use crate::vm::Message;
use crate::vm::actor::{Activity, Actor, Machine, Ready, State};
use crate::vm::launch::Qemu;
use godwit_api::agent::{IncomingReply, IncomingRequest, MigrationOptions, PeerRef, Phase, Role};
use godwit_lease::{Claim, ClaimError, Lease, Pending, Purpose};
use godwit_model::host::PROTOCOL_VERSION;
use godwit_model::ids::MigrationId;
use godwit_model::migration::destination::{Arrived, Destination, Effect, End, Event};
use godwit_model::vm::VmState;
use godwit_qemu::qmp::{EventKind, StreamState};
use godwit_stream::{DestinationRelay, Event as RelayEvent, Events};
use prepare::Prepared;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const BUSY: &str = "the VM is arriving from another host: wait for the end of its migration";

/// A VM on its way here.
struct Incoming<'a> {
    actor: &'a mut Actor,
    request: IncomingRequest,
    tracker: Tracker,
    state: Destination,
    qemu: Qemu,
    relay: Option<DestinationRelay>,
    relay_events: Option<Events>,
    relay_totals: godwit_stream::Totals,
    /// In the blackout, until the VM runs or is held: that can last.
    urgent: Option<Urgent>,
    claiming: Option<Claiming>,
    /// The claim's first step, done while memory is sent: in the blackout each sync of the storage is felt.
    prepared: Option<JoinHandle<Result<Pending, ClaimError>>>,
    claim: Option<Claim>,
    deadline: Option<(Instant, String)>,
    /// QEMU is gone.
    dead: bool,
}

/// Makes this host ready for a VM; the migration then goes on by itself.
///
/// # Errors
/// What this host lacks or could not make; nothing is left then.
pub async fn receive(host: &Arc<Host>, request: IncomingRequest) -> Answer<IncomingReply> {
    let (ready, answer) = oneshot::channel();
    // A task of its own: the caller's connection may break at any time.
    tokio::spawn(whole(Arc::clone(host), request, ready));
    answer
        .await
        .unwrap_or_else(|_| Err(internal("the preparation died: see the agent's log")))
}

async fn whole(
    host: Arc<Host>,
    request: IncomingRequest,
    ready: oneshot::Sender<Answer<IncomingReply>>,
) {
    let prepared = match prepare::prepare(&host, &request).await {
        Ok(prepared) => prepared,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let relay = prepared.relay.address();
    drop(ready.send(Ok(IncomingReply { relay })));
    let Prepared {
        mut actor,
        tracker,
        qemu,
        relay,
        events,
    } = prepared;
    let mut incoming = Incoming::new(&mut actor, qemu, request, tracker);
    incoming.relay = Some(relay);
    incoming.relay_events = Some(events);
    incoming.prepare_claim();
    let late = "the source's relay did not come".to_owned();
    incoming.deadline = Some((Instant::now() + timings::LISTENING, late));
    let state = incoming.until_the_end(Vec::new()).await;
    Ready(actor, state).run().await;
}

/// Goes on after a restart of the agent that found QEMU loaded and the epoch won, but the VM not
/// running yet.
pub async fn resume(
    actor: &mut Actor,
    qemu: Qemu,
    claim: Claim,
    migration: MigrationId,
    source: PeerRef,
) -> State {
    let request = IncomingRequest {
        protocol: PROTOCOL_VERSION,
        migration,
        definition: actor.definition.clone(),
        epoch: claim.epoch(),
        source,
        options: MigrationOptions::default(),
        page_key: None,
    };
    let view = first_view(migration, actor.definition.id, Role::Destination);
    let Ok(tracker) = actor.host.migrations.begin(view) else {
        // A new life knows no migrations, so this cannot be.
        return State::Left;
    };
    let mut incoming = Incoming::new(actor, qemu, request, tracker);
    incoming.state = Destination::Activating;
    incoming.claim = Some(claim);
    let first = incoming.carry_out(Effect::ContinueVm).await;
    incoming.until_the_end(first.into_iter().collect()).await
}

impl<'a> Incoming<'a> {
    fn prepare_claim(&mut self) {
        let (lease, home) = (Arc::clone(&self.actor.host.lease), self.actor.home.clone());
        let epoch = self.request.epoch;
        let purpose = Purpose::Activate {
            migration: self.request.migration,
        };
        self.prepared = Some(tokio::task::spawn_blocking(move || {
            lease.prepare(&home, epoch, purpose)
        }));
    }

    fn new(actor: &'a mut Actor, qemu: Qemu, request: IncomingRequest, tracker: Tracker) -> Self {
        Self {
            actor,
            request,
            tracker,
            state: Destination::Listening,
            qemu,
            relay: None,
            relay_events: None,
            relay_totals: godwit_stream::Totals::default(),
            urgent: None,
            claiming: None,
            prepared: None,
            claim: None,
            deadline: None,
            dead: false,
        }
    }

    async fn until_the_end(mut self, first: Vec<Event>) -> State {
        let end = self.drive(first).await;
        self.finish(end).await
    }

    async fn drive(&mut self, mut own_events: Vec<Event>) -> End {
        loop {
            let event = match own_events.pop() {
                Some(event) => event,
                None => self.next().await,
            };
            tracing::debug!(migration = %self.request.migration, ?event, state = ?self.state);
            let (next, effects) = self.state.clone().step(self.request.epoch, event);
            let entered = next != self.state;
            self.state = next;
            if entered {
                self.entered();
            }
            for effect in effects {
                own_events.extend(self.carry_out(effect).await);
            }
            if let Destination::Ended(end) = &self.state {
                return end.clone();
            }
        }
    }

    fn entered(&mut self) {
        if matches!(
            self.state,
            Destination::GivingBack { .. } | Destination::Ended(_)
        ) {
            self.urgent = None;
        }
        let phase = match &self.state {
            Destination::Listening => Phase::Prepare,
            Destination::Receiving { arrived } => {
                if *arrived == Arrived::No {
                    let limit = u64::from(self.request.options.precopy_limit_seconds);
                    let limit = Duration::from_secs(limit) + timings::RECEIVING_SLACK;
                    self.deadline = Some((
                        Instant::now() + limit,
                        "the stream did not end in time".to_owned(),
                    ));
                }
                Phase::Precopy
            }
            Destination::Claiming => {
                self.deadline = None;
                self.tracker
                    .show(|view| view.loaded = Some(godwit_net::clock::now()));
                Phase::Commit
            }
            Destination::Activating => Phase::Activate,
            Destination::GivingBack { .. } => Phase::Held,
            // Shown when everything is done.
            Destination::Ended(_) => return,
        };
        self.tracker.show(|view| view.phase = phase);
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.turn().await {
                return event;
            }
        }
    }

    async fn turn(&mut self) -> Option<Event> {
        let deadline = self.deadline.as_ref().map(|(at, _)| *at);
        tokio::select! {
            biased;
            claimed = claimed(&mut self.claiming) => Some(self.on_claimed(claimed)),
            Ok(event) = self.qemu.events.recv() => match event.kind() {
                EventKind::Migration(StreamState::Completed) => Some(Event::QemuLoaded),
                EventKind::Migration(StreamState::Failed) => Some(Event::QemuFailed(self.why_failed().await)),
                _ => None,
            },
            event = relay_event(&mut self.relay_events) => self.on_relay(event),
            how = self.qemu.process.gone(), if !self.dead => {
                self.dead = true;
                Some(Event::QemuFailed(how))
            }
            () = at(deadline) => self.deadline.take().map(|(_, why)| Event::Deadline(why)),
            Some(control) = self.tracker.control.recv() => self.on_control(control),
            Some(message) = self.actor.slot.inbox.recv() => {
                Message::refuse(message, BUSY);
                None
            }
        }
    }

    async fn why_failed(&self) -> String {
        let info = self.qemu.monitor.query_migrate().await.ok();
        let said = info.and_then(|info| info.error);
        said.map_or_else(
            || "QEMU could not load the stream".to_owned(),
            |said| format!("QEMU could not load the stream: {said}"),
        )
    }

    fn on_relay(&mut self, event: Option<RelayEvent>) -> Option<Event> {
        let Some(event) = event else {
            self.relay_events = None;
            return None;
        };
        match event {
            RelayEvent::Connected { .. } => Some(Event::RelayConnected),
            RelayEvent::Blackout => {
                let relay = self.relay.as_ref().map(DestinationRelay::pid);
                let processes = relay.into_iter().chain([self.qemu.process.pid()]);
                self.urgent = Some(Urgent::with(processes));
                None
            }
            RelayEvent::Without { what } => {
                tracing::warn!(migration = %self.request.migration, what, "more is sent than would be needed");
                None
            }
            RelayEvent::Verified { totals } => {
                self.relay_totals = totals;
                Some(Event::RelayVerified)
            }
            RelayEvent::Failed { reason, .. } => Some(Event::RelayFailed(reason)),
            RelayEvent::Stranger { from, reason } => {
                self.actor.event(
                    "migration.stranger",
                    format!("{from} was turned away: {reason}"),
                );
                None
            }
            _ => None,
        }
    }

    fn on_claimed(&mut self, claimed: Claimed) -> Event {
        match claimed {
            Claimed::Won(claim) => {
                self.tracker
                    .show(|view| view.claimed = Some(godwit_net::clock::now()));
                self.claim = Some(*claim);
                self.claiming = None;
                Event::ClaimWon
            }
            Claimed::Lost(why) => {
                tracing::info!(migration = %self.request.migration, why, "the epoch is lost");
                self.claiming = None;
                Event::ClaimLost
            }
            Claimed::Unknown(why) => {
                self.urgent = None;
                let detail = format!("the datastore does not answer: {why}");
                self.tracker.show(|view| {
                    view.phase = Phase::Held;
                    view.detail.clone_from(&detail);
                });
                self.actor
                    .show_migration(self.request.migration, VmState::Held, Some(detail));
                Event::ClaimUnknown
            }
        }
    }

    fn on_control(&mut self, control: Control) -> Option<Event> {
        match control {
            Control::Abort(reason, reply) => {
                let obeyed = matches!(
                    self.state,
                    Destination::Listening | Destination::Receiving { .. }
                );
                let answer = if obeyed {
                    Ok(())
                } else {
                    Err(conflict(
                        "the claim was asked for already: the epoch decides",
                    ))
                };
                drop(reply.send(answer));
                obeyed.then_some(Event::Abort(reason))
            }
            Control::Cancel(reply) => {
                drop(reply.send(Err(conflict(
                    "this host is the destination: cancel the migration at its source",
                ))));
                None
            }
        }
    }

    /// The end: what goes on is the VM's actor, if the VM runs here.
    async fn finish(self, end: End) -> State {
        let actor = self.actor;
        match (end, self.claim) {
            (End::Running, Some(claim)) => {
                actor.event(
                    "vm.arrived",
                    format!("runs here now, epoch {}", claim.epoch()),
                );
                effects::write_down(actor, &claim).await;
                actor.show(|view| view.problem = None);
                State::Up {
                    machine: Box::new(Machine::new(self.qemu, claim)),
                    activity: Activity::Running,
                }
            }
            (end, _) => {
                let (phase, reason) = match &end {
                    End::GaveBack { reason } => (Phase::GaveBack, reason.clone()),
                    End::Destroyed { reason } => (Phase::Stayed, reason.clone()),
                    End::Running => (Phase::Held, "it runs without a claim: a defect".to_owned()),
                };
                actor.event("vm.not_arrived", &reason);
                actor.leave().await;
                self.tracker.show(|view| {
                    view.phase = phase;
                    view.detail = reason;
                    view.outcome = Some(end.outcome());
                });
                State::Left
            }
        }
    }
}

async fn relay_event(events: &mut Option<Events>) -> Option<RelayEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

async fn claimed(claiming: &mut Option<Claiming>) -> Claimed {
    match claiming {
        Some(claiming) => claiming.outcome().await,
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
