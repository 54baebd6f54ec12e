//! An order of the year before the test.

use std::fmt;

use rand::Rng;

use crate::record::Cents;
use crate::script::CartLine;
use crate::size::Size;

/// The year that a store's loaded orders are from. Fixed, so that the data depends on nothing but the seed.
const YEAR: u32 = 2025;

/// A day of that year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderDate {
    month: u32,
    day: u32,
}

impl fmt::Display for OrderDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{YEAR}-{:02}-{:02}", self.month, self.day)
    }
}

/// An order with its lines; its history rows are the lines once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// When.
    pub date: OrderDate,
    /// Who.
    pub customer: i32,
    /// Net amount: 0.01 to 400.00, not computed from the lines, as in the original.
    pub net: Cents,
    /// One to nine.
    pub lines: Vec<CartLine>,
}

impl Order {
    /// Draws order `id` of a store of `size`: the same number of orders for each month.
    #[must_use]
    pub fn random(rng: &mut impl Rng, id: u32, size: Size) -> Order {
        let month = (id - 1) / size.orders_per_month() + 1;
        let day = rng.random_range(1..=days(month));
        let customer = rng.random_range(1..=size.customers()).cast_signed();
        let net = Cents(rng.random_range(1..=40_000));
        let lines = (0..rng.random_range(1..=9usize))
            .map(|_| CartLine {
                product: rng.random_range(1..=size.products()).cast_signed(),
                quantity: rng.random_range(1..=3),
            })
            .collect();
        Order {
            date: OrderDate { month, day },
            customer,
            net,
            lines,
        }
    }
}

fn days(month: u32) -> u32 {
    match month {
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The tax on a net amount: 8.25 %, rounded to the cent, halves away from zero as the database does it.
#[must_use]
pub(crate) fn tax(net: Cents) -> Cents {
    Cents((net.0 * 825 + 5_000) / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tax_is_rounded_to_the_cent() {
        assert_eq!(tax(Cents(10_000)), Cents(825));
        assert_eq!(tax(Cents(200)), Cents(17)); // 16.5 cents
        assert_eq!(tax(Cents(1)), Cents(0));
    }
}
