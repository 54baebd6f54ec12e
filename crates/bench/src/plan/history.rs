//! What kind of visit a move is: decided by what really happened, not by what was meant.
//!
//! A host knows a VM whose pages passed through a migration there, in either direction, since its page store was last
//! emptied. The rules, in this order:
//!
//! | the destination … | visit |
//! |---|---|
//! | knows the VM, which left it about a minute ago | return-60s |
//! | knows the VM, which left it ten minutes ago or more | return-10min |
//! | knows the VM otherwise | not counted |
//! | knows or runs another clone | sibling |
//! | else | first |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Engine, Side, Visit};

/// A VM of the bench, by its stage and its number in it.
pub type VmKey = (usize, usize);

/// Seconds since the departure that count as a minute: the other VMs that move meanwhile take their time.
const MINUTE: RangeInclusive<u64> = 55..=240;
/// Seconds since the departure that count as ten minutes or more.
const TEN_MINUTES: u64 = 590;

/// What both hosts know, and where the VMs are.
#[derive(Debug, Clone, Default)]
pub struct History {
    known: [BTreeSet<VmKey>; 2],
    left: BTreeMap<(VmKey, Side), Duration>,
    places: BTreeMap<VmKey, Side>,
}

impl History {
    /// A VM of the farm was made on a host and runs there.
    pub fn made(&mut self, vm: VmKey, on: Side) {
        self.places.insert(vm, on);
    }

    /// A VM is gone; what its pages left behind stays.
    pub fn removed(&mut self, vm: VmKey) {
        self.places.remove(&vm);
    }

    /// The page stores were emptied.
    pub fn emptied(&mut self) {
        self.known = Default::default();
    }

    /// What kind of visit it would be if the VM moved to the host now. Stock QEMU remembers nothing: for it each visit
    /// is a first one.
    #[must_use]
    pub fn visit(&self, engine: Engine, vm: VmKey, to: Side, now: Duration) -> Option<Visit> {
        if engine != Engine::Godwit {
            return Some(Visit::First);
        }
        let known = &self.known[to.index()];
        if known.contains(&vm) {
            let left = self.left.get(&(vm, to))?;
            let seconds = now.saturating_sub(*left).as_secs();
            return match seconds {
                _ if MINUTE.contains(&seconds) => Some(Visit::Return60s),
                TEN_MINUTES.. => Some(Visit::Return10min),
                _ => None,
            };
        }
        let runs_there = |(other, place): (&VmKey, &Side)| *other != vm && *place == to;
        let sibling = !known.is_empty() || self.places.iter().any(runs_there);
        Some(if sibling {
            Visit::Sibling
        } else {
            Visit::First
        })
    }

    /// The VM has moved to the host.
    pub fn moved(&mut self, engine: Engine, vm: VmKey, to: Side, now: Duration) {
        if engine != Engine::Godwit {
            return;
        }
        for known in &mut self.known {
            known.insert(vm);
        }
        self.left.insert((vm, to.other()), now);
        self.places.insert(vm, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: Engine = Engine::Godwit;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn two() -> History {
        let mut history = History::default();
        history.made((0, 0), Side::A);
        history.made((0, 1), Side::A);
        history
    }

    #[test]
    fn only_who_comes_to_a_host_without_clones_is_first() {
        let mut history = two();
        assert_eq!(history.visit(G, (0, 0), Side::B, at(0)), Some(Visit::First));
        history.moved(G, (0, 0), Side::B, at(0));
        assert_eq!(
            history.visit(G, (0, 1), Side::B, at(9)),
            Some(Visit::Sibling)
        );
        // A running clone counts although the store was emptied.
        history.emptied();
        assert_eq!(
            history.visit(G, (0, 1), Side::B, at(9)),
            Some(Visit::Sibling)
        );
        history.removed((0, 0));
        assert_eq!(history.visit(G, (0, 1), Side::B, at(9)), Some(Visit::First));
    }

    #[test]
    fn a_clone_that_is_gone_has_left_its_pages() {
        let mut history = two();
        history.moved(G, (0, 0), Side::B, at(0));
        history.removed((0, 0));
        assert_eq!(
            history.visit(G, (0, 1), Side::B, at(9)),
            Some(Visit::Sibling)
        );
    }

    #[test]
    fn a_return_goes_by_the_time_since_the_departure() {
        let mut history = two();
        history.moved(G, (0, 0), Side::B, at(100));
        let visit = |seconds| history.visit(G, (0, 0), Side::A, at(seconds));
        assert_eq!(visit(110), None);
        assert_eq!(visit(165), Some(Visit::Return60s));
        assert_eq!(visit(500), None);
        assert_eq!(visit(702), Some(Visit::Return10min));
    }

    #[test]
    fn after_emptying_a_return_is_none_any_more() {
        let mut history = two();
        history.moved(G, (0, 0), Side::B, at(100));
        history.emptied();
        // The other clone still runs on A.
        assert_eq!(
            history.visit(G, (0, 0), Side::A, at(165)),
            Some(Visit::Sibling)
        );
    }

    #[test]
    fn stock_qemu_remembers_nothing_and_leaves_nothing() {
        let mut history = two();
        history.moved(Engine::Plain, (0, 1), Side::B, at(1));
        assert_eq!(
            history.visit(Engine::Plain, (0, 1), Side::A, at(2)),
            Some(Visit::First)
        );
        assert_eq!(history.visit(G, (0, 0), Side::B, at(3)), Some(Visit::First));
    }
}
