//! How big a DVD Store is: S, M, L and every whole number of megabytes between.
//!
//! The three named sizes lie on one line when drawn with logarithmic axes: 100 times the megabytes give 100 times the
//! customers, 100 times the orders and 10 times the products. So the geometric interpolation between them is one
//! formula without seams: customers = 2,000·MB, orders per month = 100·MB, products = 10,000·√(MB/10).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Months of orders that a store is loaded with.
pub const MONTHS: u32 = 12;

/// The size of a store, in (decimal) megabytes: 1 GB is 1,000 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    megabytes: u32,
}

/// A size that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// The text has no known form.
    #[error(
        "`{0}` is not a size: give S, M or L, or a whole number of megabytes such as 10MB, 300MB or 1GB"
    )]
    Unreadable(String),
    /// The number is outside what a store can have.
    #[error("a store of {0} is out of range: give between {min} and {max}", min = Size::SMALLEST, max = Size::L)]
    OutOfRange(String),
}

impl Size {
    /// Small: 10 MB, 20,000 customers, 1,000 orders a month, 10,000 products.
    pub const S: Size = Size { megabytes: 10 };
    /// Medium: 1 GB, 2,000,000 customers, 100,000 orders a month, 100,000 products.
    pub const M: Size = Size { megabytes: 1_000 };
    /// Large: 100 GB, 200,000,000 customers, 10,000,000 orders a month, 1,000,000 products.
    pub const L: Size = Size { megabytes: 100_000 };
    /// The smallest store: the line of S, M and L drawn on downwards, for tests and trials.
    pub const SMALLEST: Size = Size { megabytes: 1 };

    /// A store of so many megabytes.
    ///
    /// # Errors
    /// If it is not between [`Size::SMALLEST`] and [`Size::L`].
    pub fn from_megabytes(megabytes: u32) -> Result<Size, SizeError> {
        let size = Size { megabytes };
        if (Size::SMALLEST..=Size::L).contains(&size) {
            Ok(size)
        } else {
            Err(SizeError::OutOfRange(format!("{megabytes}MB")))
        }
    }

    /// The size in megabytes.
    #[must_use]
    pub fn megabytes(self) -> u32 {
        self.megabytes
    }

    /// Customers loaded; their ids are 1 to this.
    #[must_use]
    pub fn customers(self) -> u32 {
        2_000 * self.megabytes
    }

    /// Orders loaded for each month.
    #[must_use]
    pub fn orders_per_month(self) -> u32 {
        100 * self.megabytes
    }

    /// Orders loaded in all; their ids are 1 to this.
    #[must_use]
    pub fn orders(self) -> u32 {
        MONTHS * self.orders_per_month()
    }

    /// Products; their ids are 1 to this.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 3,162 to 1,000,000 by the range of a size
    pub fn products(self) -> u32 {
        (1_000.0 * (10.0 * f64::from(self.megabytes)).sqrt()).round() as u32
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.megabytes {
            mb if mb % 1_000 == 0 => write!(f, "{}GB", mb / 1_000),
            mb => write!(f, "{mb}MB"),
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "s" | "small" => return Ok(Size::S),
            "m" | "medium" => return Ok(Size::M),
            "l" | "large" => return Ok(Size::L),
            _ => {}
        }
        let (number, factor) = if let Some(n) = lower.strip_suffix("gb") {
            (n, 1_000)
        } else if let Some(n) = lower.strip_suffix("mb") {
            (n, 1)
        } else {
            return Err(SizeError::Unreadable(text.to_owned()));
        };
        let number: u32 = number
            .trim_end()
            .parse()
            .map_err(|_| SizeError::Unreadable(text.to_owned()))?;
        let megabytes = number
            .checked_mul(factor)
            .ok_or_else(|| SizeError::OutOfRange(text.to_owned()))?;
        Size::from_megabytes(megabytes)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_named_sizes_are_the_published_ones() {
        let rows = [
            (Size::S, 20_000, 1_000, 10_000),
            (Size::M, 2_000_000, 100_000, 100_000),
        ];
        for (size, customers, orders, products) in rows {
            assert_eq!(
                (size.customers(), size.orders_per_month(), size.products()),
                (customers, orders, products)
            );
        }
        assert_eq!(Size::L.customers(), 200_000_000);
        assert_eq!(Size::L.orders(), 120_000_000);
        assert_eq!(Size::L.products(), 1_000_000);
    }

    #[test]
    fn sizes_are_read_and_refused() {
        let good = [
            ("S", 10),
            ("medium", 1_000),
            ("l", 100_000),
            ("300MB", 300),
            ("1GB", 1_000),
            ("10 mb", 10),
        ];
        for (text, megabytes) in good {
            assert_eq!(
                text.parse::<Size>().unwrap().megabytes(),
                megabytes,
                "{text}"
            );
        }
        for text in ["", "XL", "10", "-5MB", "1.5GB", "MB"] {
            assert!(
                matches!(text.parse::<Size>(), Err(SizeError::Unreadable(_))),
                "{text}"
            );
        }
        for text in ["0MB", "101GB", "4294967295GB"] {
            assert!(
                matches!(text.parse::<Size>(), Err(SizeError::OutOfRange(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_size_survives_being_written(mb in 1u32..=100_000) {
            let size = Size::from_megabytes(mb).unwrap();
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }

        #[test]
        fn nothing_jumps_between_neighbours(mb in 10u32..100_000) {
            let (a, b) = (Size::from_megabytes(mb).unwrap(), Size::from_megabytes(mb + 1).unwrap());
            let step = f64::from(mb + 1) / f64::from(mb);
            for (x, y) in [
                (a.customers(), b.customers()),
                (a.orders_per_month(), b.orders_per_month()),
                (a.products(), b.products()),
            ] {
                prop_assert!(y > x, "{} to {} at {}", x, y, mb);
                prop_assert!(f64::from(y) / f64::from(x) <= step * 1.001, "{} to {} at {}", x, y, mb);
            }
        }

        #[test]
        fn between_two_sizes_lies_the_geometric_mean(exponent in 0u32..=3) {
            // 10, 100, 1,000, 10,000 MB: each is the geometric mean of its neighbours a decade away.
            let at = |mb: u32| Size::from_megabytes(mb).unwrap();
            let mb = 10 * 10u32.pow(exponent);
            let mean = (f64::from(at(mb / 10).products()) * f64::from(at(mb * 10).products())).sqrt();
            prop_assert!((mean - f64::from(at(mb).products())).abs() <= 1.0);
        }
    }
}
