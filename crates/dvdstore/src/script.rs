//! What a user does, as pure data: order `k` of user `u` on target `t` is a function of the seed and nothing else.
//!
//! Both parts of an experiment therefore replay exactly the same orders, whatever the database answered the first time.

use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::generate::Person;
use crate::random::{Domain, Lane, Seed, Source, around};
use crate::size::Size;
use crate::words;

/// One in so many products is popular: ordered, and stocked, ten times as much.
pub const POPULAR_EVERY: u32 = 10_000;
/// How many times as much.
pub const POPULAR_FACTOR: u32 = 10;
/// Most lines that a cart has.
pub const MOST_LINES: u32 = 10;

/// The proportions of an order. The defaults are the classic ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// Share of orders that come from new customers, in percent.
    pub new_customers_percent: f64,
    /// Mean number of browses of an order: 1 to 2n-1.
    pub searches: u32,
    /// Mean number of titles asked for by a browse: 1 to 2b-1.
    pub search_batch: u32,
    /// Mean number of lines of a cart: 1 to 2L-1, at most [`MOST_LINES`].
    pub lines: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            new_customers_percent: 20.0,
            searches: 3,
            search_batch: 5,
            lines: 5,
        }
    }
}

/// How the customer enters the shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A customer of old.
    Login {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A new customer.
    Register {
        /// Who it is; the user name is [`Entry::candidate`].
        person: Box<Person>,
        /// Picks the names to try.
        name_seed: u64,
    },
}

impl Entry {
    /// The user name that a new customer tries at the `attempt`th time (from 0). It lies beyond those of loaded
    /// customers and is practically unique, so that a registration with unknown outcome can be looked up by name.
    #[must_use]
    pub fn candidate(name_seed: u64, attempt: u32) -> String {
        format!("new{:x}", name_seed.wrapping_add(u64::from(attempt) << 48))
    }
}

/// A look at the shelves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Browse {
    /// The specials of a category.
    Category {
        /// 1 to 16.
        category: i16,
        /// At most so many titles.
        limit: i64,
    },
    /// Titles with an actor of this name.
    Actor {
        /// A last name.
        words: String,
        /// At most so many titles.
        limit: i64,
    },
    /// Titles with this word.
    Title {
        /// A word.
        words: String,
        /// At most so many titles.
        limit: i64,
    },
}

/// One line of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CartLine {
    /// The product.
    pub product: i32,
    /// How many.
    pub quantity: i16,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// First.
    pub entry: Entry,
    /// Then.
    pub browses: Vec<Browse>,
    /// At last; no product twice, sorted by product, so that two purchases never wait for each other in a ring.
    pub cart: Vec<CartLine>,
}

/// All orders of all users of one target.
#[derive(Clone, Debug)]
pub struct Scripts {
    source: Source,
    target: u32,
    size: Size,
    mix: Mix,
}

impl Scripts {
    /// The scripts for target number `target` (below 2^24) whose store has `size`.
    #[must_use]
    pub fn new(seed: Seed, target: u32, size: Size, mix: Mix) -> Scripts {
        Scripts {
            source: Source::new(seed),
            target,
            size,
            mix,
        }
    }

    /// Order `k` of user `user`.
    #[must_use]
    pub fn script(&self, user: u32, k: u64) -> Script {
        let mut rng = self.source.row(Domain::Scripts, self.lane(user), k);
        let entry = self.entry(&mut rng);
        let browses = (0..around(&mut rng, self.mix.searches))
            .map(|_| self.browse(&mut rng))
            .collect();
        Script {
            entry,
            browses,
            cart: self.cart(&mut rng),
        }
    }

    /// How long user `user` thinks after order `k`: uniform from 0 to twice the mean.
    #[must_use]
    pub fn think_time(&self, user: u32, k: u64, mean: Duration) -> Duration {
        mean.mul_f64(
            2.0 * self
                .source
                .row(Domain::Thinking, self.lane(user), k)
                .random::<f64>(),
        )
    }

    /// The gap before arrival `k` of an open loop, as a multiple of the mean gap (Poisson arrivals: exponential).
    #[must_use]
    pub fn arrival_gap(&self, k: u64) -> f64 {
        let uniform: f64 = self.source.row(Domain::Arrivals, self.lane(0), k).random();
        -(1.0 - uniform).ln()
    }

    fn lane(&self, user: u32) -> Lane {
        Lane {
            target: self.target,
            user,
        }
    }

    fn entry(&self, rng: &mut impl Rng) -> Entry {
        if rng.random::<f64>() * 100.0 < self.mix.new_customers_percent {
            let us = rng.random::<bool>();
            let person = Box::new(Person::random(rng, us));
            return Entry::Register {
                person,
                name_seed: rng.random(),
            };
        }
        let customer = rng.random_range(1..=self.size.customers());
        Entry::Login {
            username: Person::loaded_username(customer),
            password: Person::PASSWORD.to_owned(),
        }
    }

    fn browse(&self, rng: &mut impl Rng) -> Browse {
        let limit = i64::from(around(rng, self.mix.search_batch));
        match rng.random_range(0..3u8) {
            0 => Browse::Category {
                category: rng.random_range(1..=16),
                limit,
            },
            1 => Browse::Actor {
                words: words::last_name(rng.random_range(0..words::NAMES)),
                limit,
            },
            _ => Browse::Title {
                words: words::title_word(rng.random_range(0..words::TITLE_WORDS)),
                limit,
            },
        }
    }

    fn cart(&self, rng: &mut impl Rng) -> Vec<CartLine> {
        let lines = around(rng, self.mix.lines).min(MOST_LINES) as usize;
        let mut cart: Vec<CartLine> = Vec::with_capacity(lines);
        while cart.len() < lines {
            let product = weighted_product(rng, self.size.products());
            if cart.iter().all(|line| line.product != product) {
                cart.push(CartLine {
                    product,
                    quantity: rng.random_range(1..=3),
                });
            }
        }
        cart.sort_unstable();
        cart
    }
}

/// A product of `products`, the popular ones ten times as likely as each of the others.
fn weighted_product(rng: &mut impl Rng, products: u32) -> i32 {
    let extra = products / POPULAR_EVERY * (POPULAR_FACTOR - 1);
    let drawn = rng.random_range(0..products + extra);
    let product = if drawn < products {
        drawn + 1
    } else {
        (drawn - products) / (POPULAR_FACTOR - 1) * POPULAR_EVERY + POPULAR_EVERY
    };
    product.cast_signed()
}
