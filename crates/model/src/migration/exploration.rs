//! Both halves together: every order of progress, failures, lost and repeated messages and
//! claims is tried. At most one copy runs in each state that can be reached, and from each
//! of them an end can be reached.

use super::destination::{
    Destination, Effect as DestinationEffect, End, Event as DestinationEvent,
};
use super::source::{Effect as SourceEffect, Event as SourceEvent, Rules, Source};
use crate::epoch::Epoch;
use std::collections::{BTreeMap, HashMap, HashSet};

const N: Epoch = Epoch(2);
const WHY: &str = "x";

/// What QEMU does on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Copy {
    Runs,
    Paused,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Source,
    Destination,
}

/// Everything there is: both machines, both QEMUs, the epoch files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    source: Source,
    destination: Destination,
    at_source: Copy,
    at_destination: Copy,
    epochs: BTreeMap<u64, Side>,
    released: bool,
    aborted: bool,
}

impl World {
    fn start() -> Self {
        Self {
            source: Source::Connecting,
            destination: Destination::Listening,
            at_source: Copy::Runs,
            at_destination: Copy::Paused,
            epochs: BTreeMap::from([(1, Side::Source)]),
            released: false,
            aborted: false,
        }
    }

    fn win(&mut self, epoch: Epoch, side: Side) -> bool {
        *self.epochs.entry(epoch.0).or_insert(side) == side
    }

    /// Every world that can come next.
    fn next(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        for event in self.source_events() {
            self.source_step(event, &mut worlds);
        }
        for event in self.destination_events() {
            self.destination_step(event, &mut worlds);
        }
        worlds
    }

    fn source_events(&self) -> Vec<SourceEvent> {
        let mut events = vec![
            SourceEvent::RelayConnected,
            SourceEvent::RelayDrained,
            SourceEvent::RelayFailed(WHY.into()),
            SourceEvent::Deadline(WHY.into()),
            SourceEvent::Cancel,
        ];
        if matches!(self.source, Source::Sending { .. }) {
            events.push(SourceEvent::QemuCompleted);
        }
        match &self.destination {
            Destination::Ended(End::Running) => events.push(SourceEvent::PeerRunning),
            Destination::Ended(End::Destroyed { .. }) => {
                events.push(SourceEvent::PeerFailed(WHY.into()));
            }
            Destination::Ended(End::GaveBack { .. }) => {
                events.push(SourceEvent::PeerGaveBack(WHY.into()));
            }
            _ => {}
        }
        if let Source::Claiming { epoch, .. } = self.source {
            events.push(SourceEvent::ClaimUnknown);
            // The link is atomic: it is won by whoever comes first.
            let mut trial = self.clone();
            events.push(if trial.win(epoch, Side::Source) {
                SourceEvent::ClaimWon
            } else {
                SourceEvent::ClaimLost
            });
        }
        events
    }

    fn source_step(&self, event: SourceEvent, worlds: &mut Vec<Self>) {
        let mut world = self.clone();
        match (&event, &self.source) {
            (SourceEvent::QemuCompleted, _) => world.at_source = Copy::Paused,
            (SourceEvent::ClaimWon, Source::Claiming { epoch, .. }) => {
                world.win(*epoch, Side::Source);
            }
            (SourceEvent::ClaimUnknown, Source::Claiming { epoch, .. }) => {
                // Unknown covers both: the link was made, or it was not.
                let mut made = self.clone();
                made.win(*epoch, Side::Source);
                worlds.push(made);
            }
            _ => {}
        }
        let (next, effects) = world.source.clone().step(Rules { epoch: N }, event);
        world.source = next;
        for effect in effects {
            match effect {
                SourceEffect::Release => world.released = true,
                SourceEffect::ContinueVm => world.at_source = Copy::Runs,
                SourceEffect::QuitVm => world.at_source = Copy::Gone,
                SourceEffect::AbortPeer(_) => world.aborted = true,
                SourceEffect::StartSending | SourceEffect::StopRelay | SourceEffect::Claim(_) => {}
            }
        }
        worlds.push(world);
    }

    fn destination_events(&self) -> Vec<DestinationEvent> {
        let mut events = vec![
            DestinationEvent::RelayFailed(WHY.into()),
            DestinationEvent::QemuFailed(WHY.into()),
            DestinationEvent::Deadline(WHY.into()),
        ];
        if self.source != Source::Connecting {
            events.push(DestinationEvent::RelayConnected);
        }
        if self.released {
            events.extend([
                DestinationEvent::RelayVerified,
                DestinationEvent::QemuLoaded,
            ]);
        }
        if self.aborted {
            events.push(DestinationEvent::Abort(WHY.into()));
        }
        match self.destination {
            Destination::Claiming => {
                events.push(DestinationEvent::ClaimUnknown);
                let mut trial = self.clone();
                events.push(if trial.win(N, Side::Destination) {
                    DestinationEvent::ClaimWon
                } else {
                    DestinationEvent::ClaimLost
                });
            }
            Destination::Activating => events.extend([
                DestinationEvent::Continued,
                DestinationEvent::ContinueFailed(WHY.into()),
            ]),
            Destination::GivingBack { .. } => events.push(DestinationEvent::GivenBack),
            _ => {}
        }
        events
    }

    fn destination_step(&self, event: DestinationEvent, worlds: &mut Vec<Self>) {
        let mut world = self.clone();
        match (&event, &self.destination) {
            (DestinationEvent::ClaimWon, Destination::Claiming) => {
                world.win(N, Side::Destination);
            }
            (DestinationEvent::ClaimUnknown, Destination::Claiming) => {
                let mut made = self.clone();
                made.win(N, Side::Destination);
                worlds.push(made);
            }
            (DestinationEvent::Continued, Destination::Activating) => {
                world.at_destination = Copy::Runs;
            }
            (DestinationEvent::QemuFailed(_), Destination::Ended(_)) => return,
            (DestinationEvent::QemuFailed(_), _) => world.at_destination = Copy::Gone,
            _ => {}
        }
        let (next, effects) = world.destination.clone().step(N, event);
        world.destination = next;
        for effect in effects {
            match effect {
                DestinationEffect::DestroyVm => world.at_destination = Copy::Gone,
                DestinationEffect::WriteGiveBack(epoch) => {
                    assert_eq!(
                        world.at_destination,
                        Copy::Gone,
                        "gives back a copy it still has"
                    );
                    world.win(epoch, Side::Source);
                }
                _ => {}
            }
        }
        worlds.push(world);
    }

    fn ended(&self) -> bool {
        matches!(self.source, Source::Ended(_)) && matches!(self.destination, Destination::Ended(_))
    }
}

#[test]
fn at_most_one_copy_runs_and_every_state_can_end() {
    let mut successors: HashMap<World, Vec<World>> = HashMap::new();
    let mut open = vec![World::start()];
    while let Some(world) = open.pop() {
        if successors.contains_key(&world) {
            continue;
        }
        let both = world.at_source == Copy::Runs && world.at_destination == Copy::Runs;
        assert!(!both, "two running copies: {world:#?}");
        if world.ended() {
            let neither = world.at_source != Copy::Runs && world.at_destination != Copy::Runs;
            assert!(!neither, "no running copy at the end: {world:#?}");
        }
        let next = world.next();
        open.extend(next.iter().cloned());
        successors.insert(world, next);
    }
    assert!(
        successors.len() > 60,
        "only {} states: the events are too few",
        successors.len()
    );

    // Backwards from the ends: what cannot reach one hangs for ever.
    let mut can_end: HashSet<&World> = successors.keys().filter(|world| world.ended()).collect();
    loop {
        let before = can_end.len();
        for (world, next) in &successors {
            if next.iter().any(|world| can_end.contains(world)) {
                can_end.insert(world);
            }
        }
        if can_end.len() == before {
            break;
        }
    }
    let stuck = successors.keys().find(|world| !can_end.contains(world));
    assert_eq!(stuck, None, "a state that never ends");
}
