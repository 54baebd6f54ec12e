//! Which VM moves when. Pure and seeded: the same seed gives the same moves.
//!
//! As in the paper, interval k has k times the step (2, 4, 6 …) migrations, VMs are picked at
//! random, and each move away from the first host is followed by one in the other direction, so
//! that the hosts stay balanced. Moves are spread evenly over their interval, half a slot from
//! either end, so that none is under way when an interval ends.

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// One of the two hosts of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first host of the test.
    First,
    /// The second host of the test.
    Second,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// 0 or 1, to index a list of the two hosts.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// Where VM number `vm` starts: alternately on both hosts.
    #[must_use]
    pub fn at_start(vm: usize) -> Self {
        if vm.is_multiple_of(2) {
            Self::First
        } else {
            Self::Second
        }
    }
}

/// One planned migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// Its number in the run, from 1.
    pub number: u32,
    /// Its interval, from 0.
    pub interval: u32,
    /// Seconds from the start of the measured window.
    pub at_s: f64,
    /// The VM, by its number from 0.
    pub vm: usize,
    /// Where it is before.
    pub from: Side,
    /// Where it goes.
    pub to: Side,
}

/// Plans all moves of a run.
#[must_use]
pub fn plan(profile: &Profile, seed: u64) -> Vec<Move> {
    let mut chance = ChaCha12Rng::seed_from_u64(seed ^ 0x6d6f_7665);
    let mut places: Vec<Side> = (0..profile.vms as usize).map(Side::at_start).collect();
    let mut moves: Vec<Move> = Vec::new();
    for (interval, count) in (0u32..).zip(profile.migrations_per_interval()) {
        let slot = f64::from(profile.interval_s) / f64::from(count.max(1));
        let begins = f64::from(interval * profile.interval_s);
        for k in 0..count {
            let from = if moves.len().is_multiple_of(2) {
                Side::First
            } else {
                Side::Second
            };
            let Some(vm) = pick(&places, from, moves.last().map(|m| m.vm), &mut chance) else {
                continue;
            };
            places[vm] = from.other();
            moves.push(Move {
                number: moves.len() as u32 + 1,
                interval,
                at_s: begins + slot * (f64::from(k) + 0.5),
                vm,
                from,
                to: from.other(),
            });
        }
    }
    moves
}

/// A random VM on that side, but not the one just moved unless there is no other: sending the same
/// VM straight back would be a kinder test than the paper's.
fn pick(
    places: &[Side],
    from: Side,
    last: Option<usize>,
    chance: &mut ChaCha12Rng,
) -> Option<usize> {
    let here = |skip: Option<usize>| -> Vec<usize> {
        let on_side = places.iter().enumerate().filter(|(_, side)| **side == from);
        on_side
            .map(|(vm, _)| vm)
            .filter(|vm| Some(*vm) != skip)
            .collect()
    };
    here(last)
        .choose(chance)
        .copied()
        .or_else(|| here(None).first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProfileName;
    use proptest::prelude::*;

    fn profile(vms: u32, intervals: u32, step: u32) -> Profile {
        Profile {
            vms,
            intervals,
            migrations_step: step,
            ..Profile::named(ProfileName::Demo)
        }
    }

    proptest! {
        #[test]
        fn hosts_stay_balanced_and_counts_hold(
            vms in 2u32..40, intervals in 1u32..12, step in 1u32..5, seed: u64,
        ) {
            let profile = profile(vms, intervals, step);
            let moves = plan(&profile, seed);
            let mut places: Vec<Side> = (0..vms as usize).map(Side::at_start).collect();
            let first = |places: &[Side]| places.iter().filter(|s| **s == Side::First).count() as i64;
            let at_start = first(&places);
            for one in &moves {
                prop_assert_eq!(places[one.vm], one.from, "moved from where it is");
                prop_assert_ne!(one.from, one.to);
                places[one.vm] = one.to;
                prop_assert!((first(&places) - at_start).abs() <= 1, "out of balance");
            }
            if moves.len().is_multiple_of(2) {
                prop_assert_eq!(first(&places), at_start);
            }
            for (k, count) in profile.migrations_per_interval().into_iter().enumerate() {
                let inside = moves.iter().filter(|m| m.interval as usize == k).count() as u32;
                prop_assert_eq!(inside, count);
            }
        }

        #[test]
        fn moves_lie_in_their_interval_in_order(vms in 2u32..40, intervals in 1u32..12, seed: u64) {
            let profile = profile(vms, intervals, 2);
            let moves = plan(&profile, seed);
            prop_assert!(moves.windows(2).all(|w| w[0].at_s < w[1].at_s));
            for one in &moves {
                prop_assert_eq!(profile.interval_at(one.at_s), Some(one.interval as usize));
            }
        }

        #[test]
        fn the_seed_decides(seed: u64) {
            let paper = Profile::named(ProfileName::Paper);
            prop_assert_eq!(plan(&paper, seed), plan(&paper, seed));
            prop_assert_ne!(plan(&paper, seed), plan(&paper, seed.wrapping_add(1)));
        }

        #[test]
        fn no_vm_is_sent_straight_back(seed: u64) {
            let moves = plan(&Profile::named(ProfileName::Paper), seed);
            prop_assert!(moves.windows(2).all(|w| w[0].vm != w[1].vm));
        }
    }

    #[test]
    fn in_the_papers_last_interval_every_vm_moves_once_on_average() {
        let paper = Profile::named(ProfileName::Paper);
        let mut moved = vec![0u32; paper.vms as usize];
        for seed in 0..200 {
            for one in plan(&paper, seed).iter().filter(|m| m.interval == 9) {
                moved[one.vm] += 1;
            }
        }
        let mean = |n: u32| f64::from(n) / 200.0;
        assert!((moved.iter().map(|n| mean(*n)).sum::<f64>() / 20.0 - 1.0).abs() < 1e-9);
        for (vm, n) in moved.iter().enumerate() {
            assert!(
                (0.6..1.4).contains(&mean(*n)),
                "VM {vm} moves {} times",
                mean(*n)
            );
        }
    }

    #[test]
    fn two_vms_go_back_and_forth() {
        let moves = plan(&profile(2, 2, 2), 7);
        assert_eq!(moves.len(), 6);
    }
}
