//! The source's half of a migration: when to release, when to continue the VM, and when
//! to give it up.

use super::Outcome;
use crate::epoch::Epoch;
use serde::{Deserialize, Serialize};

/// Where the source stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Source {
    /// The relay connects to the destination; QEMU sends nothing yet.
    Connecting,
    /// QEMU sends. The guest runs until QEMU pauses it for the last round.
    Sending {
        /// What has been seen of the two signs that everything was sent.
        sent: Sent,
    },
    /// The last frame may have reached the destination. From here on only a won claim
    /// lets this host run the VM.
    Released,
    /// Asks for an epoch, so that the destination cannot have it.
    Claiming {
        /// The number asked for.
        epoch: Epoch,
        /// Why the migration is given up.
        reason: String,
    },
    /// The destination has the claim; its RESUME is waited for. This host's QEMU stays,
    /// paused, since the destination may still give the VM back.
    Yielded,
    /// The end.
    Ended(Outcome),
}

/// The two signs that everything was sent: QEMU says `completed`, and the relay has read
/// its stream to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// Neither yet.
    No,
    /// QEMU has completed, the relay still reads.
    ByQemu,
    /// The relay is at the end of the stream, QEMU has not confirmed.
    ByRelay,
}

/// What the source learns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The relay has a connection that the destination accepted.
    RelayConnected,
    /// The relay has read QEMU's stream to its end and withholds the last frame.
    RelayDrained,
    /// QEMU's migration status became `completed`.
    QemuCompleted,
    /// QEMU's migration failed, or QEMU is gone.
    QemuFailed(String),
    /// The relay or its connection is gone.
    RelayFailed(String),
    /// The destination says that the VM runs there.
    PeerRunning,
    /// The destination says that it has ended without ever running the VM, and that its
    /// QEMU is gone.
    PeerFailed(String),
    /// The destination claimed, could not run the VM, and wrote the next epoch for us.
    PeerGaveBack(String),
    /// The time set for this phase is over.
    Deadline(String),
    /// An operator wants the migration to end.
    Cancel,
    /// The epoch asked for is ours.
    ClaimWon,
    /// Somebody else has the epoch asked for.
    ClaimLost,
    /// The storage gave no answer: the outcome is not known.
    ClaimUnknown,
}

/// What the source must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Let QEMU send its state into the relay.
    StartSending,
    /// Let the relay send the last frame.
    Release,
    /// End QEMU's migration if it still runs, and continue the guest if it is paused.
    /// Only before release, or with a claim.
    ContinueVm,
    /// End the relay.
    StopRelay,
    /// Tell the destination to give up; it may not hear it.
    AbortPeer(String),
    /// Try to win this epoch; try again while its outcome is unknown.
    Claim(Epoch),
    /// End QEMU here: the VM runs at the destination.
    QuitVm,
}

/// The source of one migration. `epoch` is the number fixed when it was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rules {
    /// The epoch that decides this migration.
    pub epoch: Epoch,
}

impl Source {
    /// Whether an operator can still cancel: until release.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        matches!(self, Self::Connecting | Self::Sending { .. })
    }

    /// The next state and what to do. Events that mean nothing in a state change nothing:
    /// messages may be late, repeated or out of order.
    #[must_use]
    pub fn step(self, rules: Rules, event: Event) -> (Self, Vec<Effect>) {
        match self {
            Self::Connecting => connecting(event),
            Self::Sending { sent } => sending(sent, event),
            Self::Released => released(rules, event),
            Self::Claiming { epoch, reason } => claiming(rules, epoch, reason, event),
            Self::Yielded => yielded(rules, event),
            Self::Ended(outcome) => (Self::Ended(outcome), Vec::new()),
        }
    }
}

fn connecting(event: Event) -> (Source, Vec<Effect>) {
    match event {
        Event::RelayConnected => (
            Source::Sending { sent: Sent::No },
            vec![Effect::StartSending],
        ),
        other => match ending(other) {
            Some(reason) => stay_before_release(reason),
            None => (Source::Connecting, Vec::new()),
        },
    }
}

fn sending(sent: Sent, event: Event) -> (Source, Vec<Effect>) {
    match (sent, event) {
        (Sent::No, Event::QemuCompleted) => (Source::Sending { sent: Sent::ByQemu }, Vec::new()),
        (Sent::No, Event::RelayDrained) => (
            Source::Sending {
                sent: Sent::ByRelay,
            },
            Vec::new(),
        ),
        // The point of no return. Before it the destination cannot have a whole VM, so an
        // abort needs nobody's leave; after it the destination may claim at any moment.
        (Sent::ByQemu, Event::RelayDrained) | (Sent::ByRelay, Event::QemuCompleted) => {
            (Source::Released, vec![Effect::Release])
        }
        (_, other) => match ending(other) {
            Some(reason) => stay_before_release(reason),
            None => (Source::Sending { sent }, Vec::new()),
        },
    }
}

/// Events that end a migration before release, with their reason.
fn ending(event: Event) -> Option<String> {
    match event {
        Event::QemuFailed(reason)
        | Event::RelayFailed(reason)
        | Event::PeerFailed(reason)
        | Event::PeerGaveBack(reason)
        | Event::Deadline(reason) => Some(reason),
        Event::Cancel => Some("cancelled by an operator".to_owned()),
        _ => None,
    }
}

fn stay_before_release(reason: String) -> (Source, Vec<Effect>) {
    let effects = vec![
        Effect::StopRelay,
        Effect::ContinueVm,
        Effect::AbortPeer(reason.clone()),
    ];
    (Source::Ended(Outcome::Stayed { reason }), effects)
}

fn released(rules: Rules, event: Event) -> (Source, Vec<Effect>) {
    match event {
        Event::PeerRunning => moved(),
        Event::PeerGaveBack(reason) => claim(rules.epoch.next().next(), reason),
        // The connection's end says nothing about what arrived: the destination is asked
        // until the deadline. Its own word that it failed, and the deadline, are enough
        // to ask for the epoch; who wins it decides.
        Event::PeerFailed(reason) | Event::Deadline(reason) => claim(rules.epoch, reason),
        _ => (Source::Released, Vec::new()),
    }
}

fn claim(epoch: Epoch, reason: String) -> (Source, Vec<Effect>) {
    (
        Source::Claiming { epoch, reason },
        vec![Effect::Claim(epoch)],
    )
}

fn claiming(rules: Rules, epoch: Epoch, reason: String, event: Event) -> (Source, Vec<Effect>) {
    match event {
        Event::ClaimWon => {
            let effects = vec![
                Effect::StopRelay,
                Effect::ContinueVm,
                Effect::AbortPeer(reason.clone()),
            ];
            (Source::Ended(Outcome::Stayed { reason }), effects)
        }
        Event::ClaimLost => (Source::Yielded, Vec::new()),
        Event::ClaimUnknown => (
            Source::Claiming { epoch, reason },
            vec![Effect::Claim(epoch)],
        ),
        Event::PeerRunning => moved(),
        Event::PeerGaveBack(reason) if epoch == rules.epoch => {
            claim(rules.epoch.next().next(), reason)
        }
        _ => (Source::Claiming { epoch, reason }, Vec::new()),
    }
}

fn yielded(rules: Rules, event: Event) -> (Source, Vec<Effect>) {
    match event {
        Event::PeerRunning => moved(),
        Event::PeerGaveBack(reason) => claim(rules.epoch.next().next(), reason),
        _ => (Source::Yielded, Vec::new()),
    }
}

fn moved() -> (Source, Vec<Effect>) {
    (
        Source::Ended(Outcome::Moved),
        vec![Effect::QuitVm, Effect::StopRelay],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { epoch: Epoch(7) };

    fn run(events: &[Event]) -> (Source, Vec<Effect>) {
        let mut state = Source::Connecting;
        let mut all = Vec::new();
        for event in events {
            let (next, effects) = state.step(RULES, event.clone());
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    const GOOD: [Event; 3] = [
        Event::RelayConnected,
        Event::RelayDrained,
        Event::QemuCompleted,
    ];

    #[test]
    fn release_needs_both_signs_in_any_order() {
        for order in [[1, 2], [2, 1]] {
            let events = [
                GOOD[0].clone(),
                GOOD[order[0]].clone(),
                GOOD[order[1]].clone(),
            ];
            let (state, effects) = run(&events);
            assert_eq!(state, Source::Released);
            assert_eq!(effects, [Effect::StartSending, Effect::Release]);
            assert!(!run(&events[..2]).1.contains(&Effect::Release));
        }
    }

    #[test]
    fn a_failure_before_release_continues_without_a_claim() {
        let (state, effects) = run(&[Event::RelayConnected, Event::RelayFailed("cut".into())]);
        assert_eq!(
            state,
            Source::Ended(Outcome::Stayed {
                reason: "cut".into()
            })
        );
        assert!(effects.contains(&Effect::ContinueVm));
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Claim(_)))
        );
    }

    #[test]
    fn after_release_nothing_continues_without_a_claim() {
        for event in [
            Event::Deadline("late".into()),
            Event::PeerFailed("gone".into()),
        ] {
            let mut events = GOOD.to_vec();
            events.push(event);
            let (state, effects) = run(&events);
            assert!(matches!(
                state,
                Source::Claiming {
                    epoch: Epoch(7),
                    ..
                }
            ));
            assert!(!effects.contains(&Effect::ContinueVm));
            events.push(Event::ClaimWon);
            assert!(run(&events).1.contains(&Effect::ContinueVm));
        }
    }

    #[test]
    fn cancel_is_refused_after_release() {
        let mut events = GOOD.to_vec();
        events.push(Event::Cancel);
        assert_eq!(run(&events).0, Source::Released);
        assert!(!Source::Released.can_cancel());
    }

    #[test]
    fn a_given_back_vm_needs_the_epoch_after_the_next() {
        let mut events = GOOD.to_vec();
        events.push(Event::PeerGaveBack("no write lock".into()));
        assert!(run(&events).1.contains(&Effect::Claim(Epoch(9))));
    }

    #[test]
    fn an_unknown_claim_is_tried_again_and_a_lost_one_waits() {
        let mut events = GOOD.to_vec();
        events.extend([Event::Deadline("late".into()), Event::ClaimUnknown]);
        assert_eq!(
            run(&events)
                .1
                .iter()
                .filter(|e| **e == Effect::Claim(Epoch(7)))
                .count(),
            2
        );
        events.push(Event::ClaimLost);
        assert_eq!(run(&events).0, Source::Yielded);
        events.push(Event::PeerRunning);
        let (state, effects) = run(&events);
        assert_eq!(state, Source::Ended(Outcome::Moved));
        assert!(effects.contains(&Effect::QuitVm));
    }
}
