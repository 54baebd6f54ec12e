//! The data of a store, as pure functions of seed, table and row.
//!
//! Nothing is stored: the loader writes row after row to the database, and the audit draws the same rows again to know
//! what the store began with. `FORMAT` must change when any of them changes.

mod copytext;
mod order;
mod person;
mod product;

pub(crate) use order::tax;
pub use order::{Order, OrderDate};
pub use person::Person;
pub use product::{Product, Stock};

pub(crate) use copytext::CopyText;

use crate::random::{Domain, Lane, Seed, Source};
use crate::size::Size;

/// Version of the data that a seed stands for; written into the database, compared by the audit.
pub const FORMAT: i32 = 1;

/// All rows of one store.
#[derive(Clone, Debug)]
pub struct Generator {
    source: Source,
    size: Size,
}

impl Generator {
    /// The store of this seed and size.
    #[must_use]
    pub fn new(seed: Seed, size: Size) -> Generator {
        Generator {
            source: Source::new(seed),
            size,
        }
    }

    /// The store's size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Customer `id`, from 1. The first half lives in the US.
    #[must_use]
    pub fn customer(&self, id: u32) -> Person {
        let us = id <= self.size.customers() / 2;
        Person::random(&mut self.row(Domain::Customers, id), us)
    }

    /// Product `id`, from 1.
    #[must_use]
    pub fn product(&self, id: u32) -> Product {
        Product::random(&mut self.row(Domain::Products, id), self.size.products())
    }

    /// What is in stock of product `id` at first.
    #[must_use]
    pub fn stock(&self, id: u32) -> Stock {
        Stock::random(&mut self.row(Domain::Stock, id), id)
    }

    /// Order `id`, from 1, with its lines.
    #[must_use]
    pub fn order(&self, id: u32) -> Order {
        Order::random(&mut self.row(Domain::Orders, id), id, self.size)
    }

    fn row(&self, domain: Domain, id: u32) -> rand_chacha::ChaCha8Rng {
        self.source.row(domain, Lane::default(), u64::from(id))
    }
}

/// What a store begins with, as far as the audit must know it. Computing it draws every order once (for M about a
/// second), so share one among databases of the same seed and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The seed it was computed from.
    pub seed: Seed,
    /// The size it was computed for.
    pub size: Size,
    /// In stock, by product id minus one.
    pub in_stock: Vec<i32>,
    /// Sold, by product id minus one.
    pub sold: Vec<i32>,
    /// Prices in cents, by product id minus one.
    pub prices: Vec<i32>,
    /// Order lines in all.
    pub lines: u64,
    /// Sum of net amounts of all orders, in cents.
    pub net_cents: i64,
}

impl Baseline {
    /// Draws what is needed.
    #[must_use]
    pub fn compute(seed: Seed, size: Size) -> Baseline {
        let generator = Generator::new(seed, size);
        let mut sold = vec![0i32; size.products() as usize];
        let (mut lines, mut net_cents) = (0, 0);
        for order in (1..=size.orders()).map(|id| generator.order(id)) {
            lines += order.lines.len() as u64;
            net_cents += order.net.0;
            for line in &order.lines {
                sold[(line.product - 1) as usize] += i32::from(line.quantity);
            }
        }
        let products = || 1..=size.products();
        Baseline {
            seed,
            size,
            in_stock: products().map(|id| generator.stock(id).in_stock).collect(),
            sold,
            prices: products()
                .map(|id| generator.product(id).price_cents)
                .collect(),
            lines,
            net_cents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{DefaultHasher, Hash, Hasher};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn rows_are_the_same_in_any_order(seed: u64, mb in 1u32..50, ids in prop::collection::vec(1u32..1_000, 1..20)) {
            let size = Size::from_megabytes(mb).unwrap();
            let (a, b) = (Generator::new(Seed(seed), size), Generator::new(Seed(seed), size));
            let forward: Vec<_> = ids.iter().map(|&id| (a.customer(id), a.product(id), a.order(id), a.stock(id))).collect();
            let mut back: Vec<_> =
                ids.iter().rev().map(|&id| (b.customer(id), b.product(id), b.order(id), b.stock(id))).collect();
            back.reverse();
            prop_assert_eq!(forward, back);
        }

        #[test]
        fn rows_keep_to_the_published_ranges(seed: u64, id in 1u32..10_000) {
            let g = Generator::new(Seed(seed), Size::S);
            let order = g.order(id);
            prop_assert!((1..=9).contains(&order.lines.len()));
            prop_assert!((1..=40_000).contains(&order.net.0));
            prop_assert!(order.lines.iter().all(|l| (1..=3).contains(&l.quantity) && (1..=10_000).contains(&l.product)));
            prop_assert!((1..=20_000).contains(&order.customer));
            let product = g.product(id);
            prop_assert!((999..=2_999).contains(&product.price_cents));
            prop_assert!((1..=16).contains(&product.category));
            let person = g.customer(id);
            prop_assert!((18..=90).contains(&person.age));
            prop_assert!(person.income % 20_000 == 0 && (20_000..=100_000).contains(&person.income));
        }
    }

    #[test]
    fn the_baseline_agrees_with_the_rows() {
        let base = Baseline::compute(Seed(3), Size::SMALLEST);
        let g = Generator::new(Seed(3), Size::SMALLEST);
        let orders: Vec<_> = (1..=Size::SMALLEST.orders())
            .map(|id| g.order(id))
            .collect();
        let units: i32 = orders
            .iter()
            .flat_map(|o| &o.lines)
            .map(|l| i32::from(l.quantity))
            .sum();
        assert_eq!(base.sold.iter().sum::<i32>(), units);
        assert_eq!(base.in_stock[41], g.stock(42).in_stock);
        let mean = base.lines as f64 / f64::from(Size::SMALLEST.orders());
        assert!((4.5..5.5).contains(&mean), "{mean} lines an order");
    }

    #[test]
    fn two_seeds_give_two_stores() {
        let digest = |seed| {
            let mut h = DefaultHasher::new();
            format!("{:?}", Generator::new(Seed(seed), Size::S).customer(1)).hash(&mut h);
            h.finish()
        };
        assert_ne!(digest(1), digest(2));
    }
}
