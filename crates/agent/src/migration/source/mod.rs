//! The half of a migration at the host that has the VM.
//!
//! ```text
//!  relay, QEMU, destination, lease, clock, operator
//!        │ next(): one event at a time
//!        ▼
//!  godwit_model::migration::source::Source::step ──► effects, in order (effects.rs)
//! ```
//! After the release this file never makes the VM run; only the effect `ContinueVm`, which the
//! machine gives after a won claim, does.

mod effects;
mod receipt;

use super::claiming::{Claimed, Claiming};
use super::peer::{News, PeerWatch};
use super::{Control, Tracker, clock, first_view, relays};
use crate::answer::{Answer, Tell, conflict};
use crate::record::MigrationRecord;
use crate::timings;
use crate::vm::actor::{Activity, Actor, Machine, State};
use crate::vm::launch::{self, Qemu};
use crate::vm::{Message, Reply};
pub use effects::make_run;
use godwit_api::agent::{MigrationView, OutgoingRequest, Phase, Role};
use godwit_api::error::ErrorCode;
use godwit_lease::{Claim, Purpose};
use godwit_model::migration::Outcome;
use godwit_model::migration::source::{Event, Rules, Source};
use godwit_model::units::Bytes;
use godwit_model::vm::VmState;
use godwit_qemu::monitor::{MigrationInfo, MigrationSettings};
use godwit_qemu::qmp::{EventKind, QmpError, StreamState};
use godwit_stream::{Event as RelayEvent, Events, SourceRelay};
use receipt::Course;
use std::future::pending;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const BUSY: &str = "the VM is being migrated: wait for the end, or cancel the migration";

/// A migration under way.
struct Outgoing<'a> {
    actor: &'a mut Actor,
    qemu: Qemu,
    /// The right to run it: until the release, and again after a won claim.
    claim: Option<Claim>,
    request: OutgoingRequest,
    tracker: Tracker,
    state: Source,
    relay: Option<SourceRelay>,
    relay_events: Option<Events>,
    peer: Option<PeerWatch>,
    claiming: Option<Claiming>,
    progress: Option<JoinHandle<Result<MigrationInfo, QmpError>>>,
    ask_progress: Instant,
    look_at_epochs: Instant,
    /// When the state's time is over.
    deadline: Option<(Instant, String)>,
    course: Course,
    /// QEMU is gone, and how.
    dead: Option<String>,
    /// What could not be done about the VM at the end.
    problem: Option<String>,
}

/// Moves the VM away. Gives the actor's next state: without the VM, or with it as it is then.
pub async fn run(
    actor: &mut Actor,
    machine: Box<Machine>,
    activity: Activity,
    request: OutgoingRequest,
    reply: Reply<MigrationView>,
) -> State {
    let prepared = prepare(actor, &machine, &activity, &request).await;
    let (tracker, relay, events) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            drop(reply.send(Err(error)));
            return State::Up { machine, activity };
        }
    };
    drop(reply.send(Ok(tracker.view())));
    let (qemu, claim) = machine.split();
    let mut outgoing = Outgoing::new(actor, qemu, Some(claim), request, tracker);
    outgoing.relay = Some(relay);
    outgoing.relay_events = Some(events);
    let late = "the relays did not reach each other in time".to_owned();
    outgoing.deadline = Some((Instant::now() + timings::CONNECTING, late));
    outgoing.until_the_end(Vec::new()).await
}

/// Goes on after a restart of the agent that found QEMU with everything sent: whether the last
/// frame was released is not known, so the epoch is asked for, and decides.
pub async fn resume(
    actor: &mut Actor,
    qemu: Qemu,
    claim: Option<Claim>,
    request: OutgoingRequest,
) -> State {
    let view = first_view(request.migration, request.vm, Role::Source);
    let Ok(tracker) = actor.host.migrations.begin(view) else {
        // A new life knows no migrations, so this cannot be.
        return State::Left;
    };
    let mut outgoing = Outgoing::new(actor, qemu, claim, request, tracker);
    outgoing.state = Source::Released;
    let reason = "the agent was restarted in the middle of the migration".to_owned();
    outgoing.until_the_end(vec![Event::Deadline(reason)]).await
}

/// Record, QEMU's settings, relay: undone when a later one fails.
async fn prepare(
    actor: &mut Actor,
    machine: &Machine,
    activity: &Activity,
    request: &OutgoingRequest,
) -> Answer<(Tracker, SourceRelay, Events)> {
    check(actor, machine, activity, request)?;
    let view = first_view(request.migration, request.vm, Role::Source);
    let tracker = actor.host.migrations.begin(view)?;
    let settings = settings(request);
    machine
        .monitor
        .prepare_outgoing(&settings)
        .await
        .told(ErrorCode::Internal)?;
    let record = MigrationRecord::Source {
        id: request.migration,
        epoch: request.epoch,
        destination: request.destination.clone(),
    };
    actor.remember(Some(&machine.claim), Some(record)).await?;
    match start_relay(actor, request).await {
        Ok((relay, events)) => {
            actor.event(
                "vm.migrating",
                format!("migrates to {}", request.destination.id),
            );
            actor.show_migration(request.migration, VmState::Migrating, None);
            Ok((tracker, relay, events))
        }
        Err(error) => {
            tracker.show(|view| {
                view.phase = Phase::Stayed;
                view.detail.clone_from(&error.message);
            });
            actor.remember(Some(&machine.claim), None).await?;
            Err(error)
        }
    }
}

fn check(
    actor: &Actor,
    machine: &Machine,
    activity: &Activity,
    request: &OutgoingRequest,
) -> Answer<()> {
    let name = &actor.definition.name;
    if !matches!(activity, Activity::Running) {
        return Err(conflict(format!(
            "VM {name} does not run: resume or start it before it is migrated"
        )));
    }
    if request.destination.id == actor.host.config.id {
        return Err(conflict(format!(
            "VM {name} is on {} already",
            request.destination.id
        )));
    }
    let epoch = machine.claim.epoch();
    if request.epoch != epoch.next() {
        return Err(conflict(format!(
            "VM {name} runs by epoch {epoch}, so a migration is decided by epoch {}, not {}: plan it anew",
            epoch.next(),
            request.epoch
        )));
    }
    Ok(())
}

fn settings(request: &OutgoingRequest) -> MigrationSettings {
    let options = &request.options;
    MigrationSettings {
        max_bandwidth: options.max_bandwidth.unwrap_or(Bytes(0)),
        downtime_limit: Duration::from_millis(options.downtime_limit_ms.into()),
        switchover_bandwidth: None,
        auto_converge: options.auto_converge,
    }
}

async fn start_relay(actor: &Actor, request: &OutgoingRequest) -> Answer<(SourceRelay, Events)> {
    let config = relays::sender(&actor.host, request)?;
    // A relay that was killed leaves its socket.
    let _ = std::fs::remove_file(&config.socket);
    SourceRelay::spawn(&actor.host.exe, &config)
        .await
        .told(ErrorCode::Unavailable)
}

impl<'a> Outgoing<'a> {
    fn new(
        actor: &'a mut Actor,
        qemu: Qemu,
        claim: Option<Claim>,
        request: OutgoingRequest,
        tracker: Tracker,
    ) -> Self {
        let peer = actor.host.peer(&request.destination).ok();
        let now = Instant::now();
        Self {
            peer: peer.map(|client| PeerWatch::start(client, request.migration)),
            course: Course::begin(qemu.process.pid()),
            actor,
            qemu,
            claim,
            request,
            tracker,
            state: Source::Connecting,
            relay: None,
            relay_events: None,
            claiming: None,
            progress: None,
            ask_progress: now,
            look_at_epochs: now,
            deadline: None,
            dead: None,
            problem: None,
        }
    }

    async fn until_the_end(mut self, first: Vec<Event>) -> State {
        let outcome = self.drive(first).await;
        let end = self.finish(outcome).await;
        let Self {
            actor,
            qemu,
            claim,
            tracker,
            problem,
            ..
        } = self;
        let state = match claim {
            _ if end.has_moved() => leave(actor).await,
            Some(claim) => {
                actor.show(|view| view.problem = problem);
                let machine = Box::new(Machine::new(qemu, claim));
                let mut activity = Activity::Paused;
                actor.look(&machine, &mut activity).await;
                actor.show_up(&machine, activity.shown());
                State::Up { machine, activity }
            }
            None => {
                // The machine ends here only before the release or after a won claim.
                tracing::error!(vm = %actor.definition.id, "a VM stays without a claim, a defect: it is killed");
                let _ = launch::destroy(&actor.host, &actor.definition, &qemu.process).await;
                leave(actor).await
            }
        };
        // Last: whoever sees the end may rely on everything else.
        end.show(&tracker);
        state
    }

    /// From the first event to the end.
    async fn drive(&mut self, mut own_events: Vec<Event>) -> Outcome {
        let rules = Rules {
            epoch: self.request.epoch,
        };
        loop {
            let event = match own_events.pop() {
                Some(event) => event,
                None => self.next().await,
            };
            tracing::debug!(migration = %self.request.migration, ?event, state = ?self.state);
            let (next, effects) = self.state.clone().step(rules, event);
            let entered = next != self.state;
            self.state = next;
            if entered {
                self.entered();
            }
            for effect in effects {
                own_events.extend(self.carry_out(effect).await);
            }
            if let Source::Ended(outcome) = &self.state {
                return outcome.clone();
            }
        }
    }

    /// A new state: its deadline, and what is shown.
    fn entered(&mut self) {
        let now = Instant::now();
        let limit = u64::from(self.request.options.precopy_limit_seconds);
        self.deadline = match &self.state {
            Source::Connecting | Source::Claiming { .. } | Source::Yielded | Source::Ended(_) => {
                None
            }
            Source::Sending { .. } if self.course.is_blackout() => self.deadline.take(),
            Source::Sending { .. } => Some((
                self.course.sending_since(now) + Duration::from_secs(limit),
                format!(
                    "the memory was not sent within {limit} s: the guest writes it faster than the link carries it"
                ),
            )),
            Source::Released => Some((
                now + timings::RELEASED,
                "the destination did not run the VM in time".to_owned(),
            )),
        };
        self.show();
    }

    fn show(&mut self) {
        let (phase, state) = match &self.state {
            Source::Connecting => (Phase::Prepare, VmState::Migrating),
            Source::Sending { .. } if self.course.is_blackout() => {
                (Phase::Blackout, VmState::Migrating)
            }
            Source::Sending { .. } => (Phase::Precopy, VmState::Migrating),
            Source::Released => (Phase::Commit, VmState::Migrating),
            Source::Claiming { .. } | Source::Yielded => (Phase::Held, VmState::Held),
            // Shown when everything is done.
            Source::Ended(_) => return,
        };
        let detail = match &self.state {
            Source::Claiming { epoch, reason } => {
                format!("asks for epoch {epoch} to take the VM back: {reason}")
            }
            Source::Yielded => {
                "the destination has the epoch; waiting for its word that it runs the VM".to_owned()
            }
            _ => String::new(),
        };
        let problem = (state == VmState::Held).then(|| detail.clone());
        self.tracker.show(|view| {
            view.phase = phase;
            view.detail = detail;
        });
        self.actor
            .show_migration(self.request.migration, state, problem);
    }

    /// What happens next, as an event for the machine.
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.turn().await {
                return event;
            }
        }
    }

    async fn turn(&mut self) -> Option<Event> {
        let deadline = self.deadline.as_ref().map(|(at, _)| *at);
        let sending = matches!(self.state, Source::Sending { .. }) && !self.course.is_blackout();
        let yielded = self.state == Source::Yielded;
        tokio::select! {
            biased;
            Ok(event) = self.qemu.events.recv() => self.on_qemu(&event),
            event = relay_event(&mut self.relay_events) => self.on_relay(event),
            claimed = claimed(&mut self.claiming) => Some(self.on_claimed(claimed)),
            news = news(&mut self.peer) => self.on_news(news),
            how = self.qemu.process.gone(), if self.dead.is_none() => {
                self.dead = Some(how.clone());
                Some(Event::QemuFailed(how))
            }
            () = at(deadline) => {
                self.deadline.take().map(|(_, why)| Event::Deadline(why))
            }
            Some(control) = self.tracker.control.recv() => self.on_control(control),
            Some(message) = self.actor.slot.inbox.recv() => {
                Message::refuse(message, BUSY);
                None
            }
            info = progress(&mut self.progress) => {
                self.on_progress(info);
                None
            }
            () = sleep_until(self.ask_progress), if sending && self.progress.is_none() => {
                self.ask_progress = Instant::now() + timings::PROGRESS;
                let monitor = self.qemu.monitor.clone();
                self.progress = Some(tokio::spawn(async move { monitor.query_migrate().await }));
                None
            }
            () = sleep_until(self.look_at_epochs), if yielded => {
                self.look_at_epochs = Instant::now() + timings::YIELDED_LOOK;
                self.look_at_epochs().await
            }
        }
    }

    fn on_qemu(&mut self, event: &godwit_qemu::qmp::Event) -> Option<Event> {
        match event.kind() {
            EventKind::Stop if !self.course.is_blackout() => {
                self.course.stopped = Some(clock::moment(event));
                if matches!(self.state, Source::Sending { .. }) {
                    let until = Instant::now() + timings::BLACKOUT;
                    self.deadline = Some((
                        until,
                        "the guest's last memory was not sent in time".to_owned(),
                    ));
                    self.show();
                }
                None
            }
            EventKind::Resume => {
                self.course.resumed_here = Some(clock::moment(event));
                None
            }
            EventKind::Shutdown { guest: true, .. } => {
                self.actor.expected_end = Some("the guest powered off".to_owned());
                None
            }
            EventKind::IoError { reason, .. } => {
                Some(Event::QemuFailed(format!("a disk answered: {reason}")))
            }
            EventKind::Migration(StreamState::Completed) => Some(Event::QemuCompleted),
            EventKind::Migration(StreamState::Failed) => {
                Some(Event::QemuFailed("QEMU could not send the VM".to_owned()))
            }
            _ => None,
        }
    }

    fn on_relay(&mut self, event: Option<RelayEvent>) -> Option<Event> {
        let Some(event) = event else {
            self.relay_events = None;
            return None;
        };
        match event {
            RelayEvent::Connected { .. } => Some(Event::RelayConnected),
            RelayEvent::Drained => Some(Event::RelayDrained),
            RelayEvent::Failed { reason, .. } => Some(Event::RelayFailed(reason)),
            _ => None,
        }
    }

    fn on_claimed(&mut self, claimed: Claimed) -> Event {
        match claimed {
            Claimed::Won(claim) => {
                // Replaces the right that the release ended.
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
                self.tracker
                    .show(|view| view.detail = format!("the datastore does not answer: {why}"));
                Event::ClaimUnknown
            }
        }
    }

    fn on_news(&mut self, news: Option<News>) -> Option<Event> {
        let Some(news) = news else {
            self.peer = None;
            return None;
        };
        match news {
            News::Offset(offset) => {
                self.course.offset = Some(offset);
                None
            }
            News::Unknown(why) => Some(Event::PeerFailed(why)),
            News::Ended(view) => {
                let reason = view.detail.clone();
                let phase = view.phase;
                self.course.destination = Some(view);
                match phase {
                    Phase::Running => Some(Event::PeerRunning),
                    Phase::GaveBack => Some(Event::PeerGaveBack(reason)),
                    _ => Some(Event::PeerFailed(reason)),
                }
            }
        }
    }

    fn on_control(&mut self, control: Control) -> Option<Event> {
        match control {
            Control::Cancel(reply) if self.state.can_cancel() => {
                drop(reply.send(Ok(())));
                Some(Event::Cancel)
            }
            Control::Cancel(reply) => {
                let text =
                    "the migration is past its point of no return: it can no longer be cancelled";
                drop(reply.send(Err(conflict(text))));
                None
            }
            Control::Abort(_, reply) => {
                drop(reply.send(Err(conflict(
                    "this host is the source: cancel the migration here",
                ))));
                None
            }
        }
    }

    fn on_progress(&mut self, info: Option<MigrationInfo>) {
        self.progress = None;
        let Some(info) = info else { return };
        let totals = self
            .relay
            .as_ref()
            .map(SourceRelay::totals)
            .unwrap_or_default();
        self.tracker
            .show(|view| receipt::show_progress(&mut view.progress, &info, totals));
    }

    /// What the epoch files say while the destination does not: this source gave way to it, so
    /// everything that follows its epoch, except a give-back, means that the VM went on without
    /// this copy.
    async fn look_at_epochs(&mut self) -> Option<Event> {
        let (home, ours) = (self.actor.home.clone(), self.actor.host.config.id.clone());
        let looked = self
            .actor
            .host
            .lease(move |lease| lease.newest(&home).told(ErrorCode::Unavailable));
        let newest = looked.await.ok().flatten()?;
        let migration = self.request.migration;
        match &newest.record.purpose {
            Purpose::GiveBack {
                to,
                migration: given,
            } if *to == ours && *given == migration => Some(Event::PeerGaveBack(
                "the destination could not run it and gave it back".to_owned(),
            )),
            _ if newest.epoch() > self.request.epoch || newest.released => Some(Event::PeerRunning),
            _ => None,
        }
    }
}

async fn leave(actor: &mut Actor) -> State {
    actor.leave().await;
    State::Left
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

async fn news(peer: &mut Option<PeerWatch>) -> Option<News> {
    match peer {
        Some(peer) => peer.next().await,
        None => pending().await,
    }
}

async fn progress(
    asked: &mut Option<JoinHandle<Result<MigrationInfo, QmpError>>>,
) -> Option<MigrationInfo> {
    match asked {
        Some(asked) => asked.await.ok()?.ok(),
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
