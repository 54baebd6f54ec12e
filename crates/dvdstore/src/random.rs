//! Chance from a seed, with random access: row 17 of a table is the same whether or not rows 1 to 16 were drawn.
//!
//! One ChaCha key per seed. The cipher's 64-bit stream number says which table (or which user) is drawn, its position
//! says which row. So the loader streams, the audit recomputes a single product, and order 40 of user 3 needs nothing
//! that came before it.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Positions of the cipher that one row may use. The widest row (a customer) draws about 90.
const WORDS_PER_ROW: u128 = 256;

/// What decides all chance in data, scripts and arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Seed, Self::Err> {
        text.parse().map(Seed)
    }
}

/// What is drawn. The numbers are part of the data's format: changing one changes all data of a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Domain {
    Customers = 1,
    Products = 2,
    Orders = 3,
    Stock = 4,
    Scripts = 5,
    Arrivals = 6,
    Thinking = 7,
}

/// The source of all rows of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    key: ChaCha8Rng,
}

impl Source {
    pub(crate) fn new(seed: Seed) -> Source {
        Source {
            key: ChaCha8Rng::seed_from_u64(seed.0),
        }
    }

    /// The generator for row `row` of `lane` in `domain`. A lane is a target and a user, or 0 for tables.
    pub(crate) fn row(&self, domain: Domain, lane: Lane, row: u64) -> ChaCha8Rng {
        let mut rng = self.key.clone();
        rng.set_stream((domain as u64) << 56 | u64::from(lane.target) << 32 | u64::from(lane.user));
        rng.set_word_pos(u128::from(row) * WORDS_PER_ROW);
        rng
    }
}

/// Which target's which user draws.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// Below 2^24: it shares a word with the domain.
    pub(crate) target: u32,
    pub(crate) user: u32,
}

/// An element of `list`, all equally likely.
pub(crate) fn pick<'a, T: ?Sized>(rng: &mut impl Rng, list: &[&'a T]) -> &'a T {
    list[rng.random_range(0..list.len())]
}

/// A number from 1 to `2 * mean - 1`, whose mean is `mean`; 1 if `mean` is 0 or 1.
pub(crate) fn around(rng: &mut impl Rng, mean: u32) -> u32 {
    rng.random_range(1..=(2 * mean).saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_does_not_depend_on_what_was_drawn_before() {
        let source = Source::new(Seed(7));
        let at = |d, row| source.row(d, Lane::default(), row).random::<u64>();
        let first = at(Domain::Orders, 5);
        at(Domain::Orders, 4);
        assert_eq!(at(Domain::Orders, 5), first);
        assert_ne!(at(Domain::Orders, 6), first);
        assert_ne!(at(Domain::Products, 5), first);
        assert_ne!(
            Source::new(Seed(8))
                .row(Domain::Orders, Lane::default(), 5)
                .random::<u64>(),
            first
        );
    }
}
