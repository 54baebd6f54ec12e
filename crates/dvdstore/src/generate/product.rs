//! A title on the shelves, and what is in stock of it.

use rand::Rng;

use crate::script::{POPULAR_EVERY, POPULAR_FACTOR};
use crate::words::{NAMES, TITLE_WORDS, first_name, last_name, title_word};

/// A product, all but its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// 1 to 16.
    pub category: i16,
    /// Two words.
    pub title: String,
    /// First and last name.
    pub actor: String,
    /// 9.99 to 29.99.
    pub price_cents: i32,
    /// Whether its category shows it among the specials: 1 in 100.
    pub special: bool,
    /// The product recommended to those who bought it.
    pub recommends: i32,
}

impl Product {
    /// Draws a product of a store with so many.
    #[must_use]
    pub fn random(rng: &mut impl Rng, products: u32) -> Product {
        let word = |rng: &mut _| title_word(Rng::random_range(rng, 0..TITLE_WORDS));
        let title = format!("{} {}", word(rng), word(rng));
        let first = first_name(rng.random_range(0..NAMES));
        Product {
            category: rng.random_range(1..=16),
            title,
            actor: format!("{first} {}", last_name(rng.random_range(0..NAMES))),
            price_cents: rng.random_range(999..=2_999),
            special: rng.random_range(0..100u32) == 0,
            recommends: rng.random_range(1..=products).cast_signed(),
        }
    }
}

/// What a store has of a product at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Pieces: 0 to 500, ten times that for a popular product.
    pub in_stock: i32,
}

impl Stock {
    /// Draws the stock of product `id`.
    #[must_use]
    pub fn random(rng: &mut impl Rng, id: u32) -> Stock {
        let factor = if id.is_multiple_of(POPULAR_EVERY) {
            POPULAR_FACTOR.cast_signed()
        } else {
            1
        };
        Stock {
            in_stock: rng.random_range(0..=500) * factor,
        }
    }
}
