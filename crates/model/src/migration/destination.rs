//! The destination's half of a migration: when it may claim, run, give back or destroy
//! what it received.

use super::Outcome;
use crate::epoch::Epoch;
use serde::{Deserialize, Serialize};

/// Where the destination stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Destination {
    /// QEMU waits for the stream; the relay waits for the source's relay.
    Listening,
    /// The stream arrives.
    Receiving {
        /// What has been seen of the two signs that everything arrived.
        arrived: Arrived,
    },
    /// Everything has arrived and was verified; the epoch is asked for.
    Claiming,
    /// The epoch is ours; QEMU is told to run the VM.
    Activating,
    /// The epoch is ours but the VM cannot run here: QEMU is destroyed, then the next
    /// epoch is written for the source.
    GivingBack {
        /// Why it cannot run here.
        reason: String,
    },
    /// The end.
    Ended(End),
}

/// How it ended for the destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The VM runs here.
    Running,
    /// The VM never ran here and its QEMU is gone.
    Destroyed {
        /// Why.
        reason: String,
    },
    /// The VM never ran here, its QEMU is gone, and the next epoch names the source.
    GaveBack {
        /// Why.
        reason: String,
    },
}

impl End {
    /// The same end as the farm sees it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Running => Outcome::Moved,
            Self::Destroyed { reason } | Self::GaveBack { reason } => Outcome::Stayed {
                reason: reason.clone(),
            },
        }
    }
}

/// The two signs that everything arrived: the relay has verified the digest of the whole
/// stream, and QEMU has loaded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrived {
    /// Neither yet.
    No,
    /// Verified; QEMU still loads.
    Verified,
    /// QEMU says it has loaded, the relay has not said that it verified.
    Loaded,
}

/// What the destination learns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The source's relay was accepted.
    RelayConnected,
    /// The whole stream's digest matched and QEMU was given the last bytes.
    RelayVerified,
    /// The relay or its connection is gone, or the stream was wrong.
    RelayFailed(String),
    /// QEMU has loaded the whole VM; it is paused.
    QemuLoaded,
    /// QEMU failed or is gone.
    QemuFailed(String),
    /// The source gives up.
    Abort(String),
    /// The time set for this phase is over.
    Deadline(String),
    /// The epoch is ours.
    ClaimWon,
    /// The epoch is somebody else's.
    ClaimLost,
    /// The storage gave no answer: the outcome is not known.
    ClaimUnknown,
    /// QEMU runs the VM.
    Continued,
    /// QEMU could not run the VM (write lock refused).
    ContinueFailed(String),
    /// QEMU is gone and the next epoch was written for the source.
    GivenBack,
}

/// What the destination must do, in this order, each before the next and all of them
/// before the new state is told to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Try to win this epoch; try again while its outcome is unknown.
    Claim(Epoch),
    /// Tell QEMU to run the VM. Only with a claim.
    ContinueVm,
    /// Tell the network where the VM's addresses are now.
    Announce,
    /// Kill QEMU and wait until the process is gone.
    DestroyVm,
    /// After QEMU is gone: write this epoch, naming the source.
    WriteGiveBack(Epoch),
    /// End the relay.
    StopRelay,
}

impl Destination {
    /// The next state and what to do. `epoch` is the number fixed when the migration was
    /// prepared. Events that mean nothing in a state change nothing.
    #[must_use]
    pub fn step(self, epoch: Epoch, event: Event) -> (Self, Vec<Effect>) {
        match self {
            Self::Listening => match event {
                Event::RelayConnected => (
                    Self::Receiving {
                        arrived: Arrived::No,
                    },
                    Vec::new(),
                ),
                other => before_claim(Self::Listening, other),
            },
            Self::Receiving { arrived } => receiving(arrived, epoch, event),
            Self::Claiming => claiming(epoch, &event),
            Self::Activating => activating(epoch, event),
            Self::GivingBack { reason } => match event {
                Event::GivenBack => (Self::Ended(End::GaveBack { reason }), Vec::new()),
                _ => (Self::GivingBack { reason }, Vec::new()),
            },
            Self::Ended(end) => (Self::Ended(end), Vec::new()),
        }
    }
}

fn receiving(arrived: Arrived, epoch: Epoch, event: Event) -> (Destination, Vec<Effect>) {
    match (arrived, event) {
        (Arrived::No, Event::RelayVerified) => (
            Destination::Receiving {
                arrived: Arrived::Verified,
            },
            Vec::new(),
        ),
        (Arrived::No, Event::QemuLoaded) => (
            Destination::Receiving {
                arrived: Arrived::Loaded,
            },
            Vec::new(),
        ),
        (Arrived::Verified, Event::QemuLoaded) | (Arrived::Loaded, Event::RelayVerified) => {
            (Destination::Claiming, vec![Effect::Claim(epoch)])
        }
        // The relay's work is over once it has verified: its end is no failure then.
        (Arrived::Verified, Event::RelayFailed(_)) => {
            (Destination::Receiving { arrived }, Vec::new())
        }
        (_, other) => before_claim(Destination::Receiving { arrived }, other),
    }
}

/// Before the claim is asked for, every failure and the source's wish destroy the copy.
fn before_claim(state: Destination, event: Event) -> (Destination, Vec<Effect>) {
    match event {
        Event::RelayFailed(reason)
        | Event::QemuFailed(reason)
        | Event::Abort(reason)
        | Event::Deadline(reason) => destroy(reason),
        _ => (state, Vec::new()),
    }
}

fn destroy(reason: String) -> (Destination, Vec<Effect>) {
    (
        Destination::Ended(End::Destroyed { reason }),
        vec![Effect::StopRelay, Effect::DestroyVm],
    )
}

fn claiming(epoch: Epoch, event: &Event) -> (Destination, Vec<Effect>) {
    match event {
        // The point of no return for the farm: from here on the source can never run the
        // VM again unless this host gives it back.
        Event::ClaimWon => (Destination::Activating, vec![Effect::ContinueVm]),
        Event::ClaimLost => destroy("the source took the VM back before it ran here".to_owned()),
        Event::ClaimUnknown => (Destination::Claiming, vec![Effect::Claim(epoch)]),
        // An abort is not obeyed here: the claim that is under way may already be won.
        _ => (Destination::Claiming, Vec::new()),
    }
}

fn activating(epoch: Epoch, event: Event) -> (Destination, Vec<Effect>) {
    match event {
        Event::Continued => (
            Destination::Ended(End::Running),
            vec![Effect::Announce, Effect::StopRelay],
        ),
        Event::ContinueFailed(reason) | Event::QemuFailed(reason) => (
            Destination::GivingBack { reason },
            vec![
                Effect::StopRelay,
                Effect::DestroyVm,
                Effect::WriteGiveBack(epoch.next()),
            ],
        ),
        _ => (Destination::Activating, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[Event]) -> (Destination, Vec<Effect>) {
        let mut state = Destination::Listening;
        let mut all = Vec::new();
        for event in events {
            let (next, effects) = state.step(Epoch(7), event.clone());
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    const ARRIVED: [Event; 3] = [
        Event::RelayConnected,
        Event::RelayVerified,
        Event::QemuLoaded,
    ];

    fn after_arrival(more: &[Event]) -> (Destination, Vec<Effect>) {
        run(&[ARRIVED.as_slice(), more].concat())
    }

    #[test]
    fn the_claim_needs_a_verified_and_a_loaded_stream() {
        assert!(run(&ARRIVED[..2]).1.is_empty());
        assert!(run(&[ARRIVED[0].clone(), ARRIVED[2].clone()]).1.is_empty());
        assert_eq!(run(&ARRIVED).1, [Effect::Claim(Epoch(7))]);
    }

    #[test]
    fn nothing_runs_without_a_won_claim() {
        for event in [Event::ClaimLost, Event::ClaimUnknown, Event::Continued] {
            assert!(!after_arrival(&[event]).1.contains(&Effect::ContinueVm));
        }
        assert!(
            after_arrival(&[Event::ClaimWon])
                .1
                .contains(&Effect::ContinueVm)
        );
    }

    #[test]
    fn an_abort_is_obeyed_before_the_claim_and_not_after() {
        let abort = Event::Abort("cancelled".into());
        assert!(
            run(&[ARRIVED[0].clone(), abort.clone()])
                .1
                .contains(&Effect::DestroyVm)
        );
        assert_eq!(
            after_arrival(std::slice::from_ref(&abort)).0,
            Destination::Claiming
        );
        assert_eq!(
            after_arrival(&[Event::ClaimWon, abort]).0,
            Destination::Activating
        );
    }

    #[test]
    fn a_vm_that_cannot_run_is_destroyed_before_it_is_given_back() {
        let failed = [
            Event::ClaimWon,
            Event::ContinueFailed("no write lock".into()),
        ];
        let effects = after_arrival(&failed).1;
        let destroy = effects
            .iter()
            .position(|effect| *effect == Effect::DestroyVm);
        let give_back = effects
            .iter()
            .position(|e| *e == Effect::WriteGiveBack(Epoch(8)));
        assert!(destroy.expect("destroys") < give_back.expect("gives back"));
    }

    #[test]
    fn the_relays_end_after_verification_is_no_failure() {
        let events = [
            ARRIVED[0].clone(),
            ARRIVED[1].clone(),
            Event::RelayFailed("closed".into()),
        ];
        assert!(matches!(run(&events).0, Destination::Receiving { .. }));
    }
}
