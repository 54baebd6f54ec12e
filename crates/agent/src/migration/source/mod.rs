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
mod events;
mod prepare;
mod receipt;

use super::claiming::{Claimed, Claiming};
use super::peer::{News, PeerWatch};
use super::{Tracker, first_view};
use crate::timings;
use crate::urgent::Urgent;
use crate::vm::actor::{Activity, Actor, Machine, State};
use crate::vm::launch::{self, Qemu};
use crate::vm::{Message, Reply};
pub use effects::make_run;
use godwit_api::agent::{MigrationView, OutgoingRequest, Phase, Role};
use godwit_lease::Claim;
use godwit_model::migration::Outcome;
use godwit_model::migration::source::{Event, Rules, Source};
use godwit_model::vm::VmState;
use godwit_qemu::monitor::MigrationInfo;
use godwit_qemu::qmp::QmpError;
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
    /// The pause that QEMU may plan now, if it was made longer than asked for.
    downtime_limit: Duration,
    look_at_epochs: Instant,
    /// When the state's time is over.
    deadline: Option<(Instant, String)>,
    course: Course,
    /// In the blackout, until the VM may run somewhere or is held: that can last.
    urgent: Option<Urgent>,
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
    let prepared = prepare::prepare(actor, &machine, &activity, &request).await;
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
            downtime_limit: Duration::ZERO,
            look_at_epochs: now,
            deadline: None,
            urgent: None,
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
                    "the memory was not sent within {limit} s: the guest writes it faster than it can be sent. Try when \
                     it has less to do, or allow a longer pause or more time"
                ),
            )),
            Source::Released => Some((
                now + timings::RELEASED,
                "the destination did not run the VM in time".to_owned(),
            )),
        };
        if !matches!(self.state, Source::Sending { .. } | Source::Released) {
            self.urgent = None;
        }
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
