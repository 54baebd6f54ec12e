//! A customer: loaded from the seed, or registered by an order.

use rand::Rng;

use crate::random::pick;
use crate::words::{COUNTRIES, US_STATES};

/// A customer's data, all but number and user name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// First name.
    pub firstname: String,
    /// Last name.
    pub lastname: String,
    /// Street.
    pub address1: String,
    /// Second line, for some.
    pub address2: Option<String>,
    /// City.
    pub city: String,
    /// State, in the US.
    pub state: Option<&'static str>,
    /// Zip code; 0 outside the US.
    pub zip: i32,
    /// Country.
    pub country: &'static str,
    /// 1 US, 2 rest of the world.
    pub region: i16,
    /// Mail address.
    pub email: String,
    /// Telephone.
    pub phone: String,
    /// 1 to 5.
    pub card_type: i32,
    /// 16 digits.
    pub card: String,
    /// `YYYY/MM`.
    pub card_expires: String,
    /// In years, 18 to 90.
    pub age: i32,
    /// 20,000 to 100,000 in steps of 20,000.
    pub income: i32,
    /// `M` or `F`.
    pub gender: &'static str,
}

impl Person {
    /// Everybody's password: the shop is a benchmark.
    pub const PASSWORD: &'static str = "password";

    /// The user name of a loaded customer.
    #[must_use]
    pub fn loaded_username(id: u32) -> String {
        format!("user{id}")
    }

    /// Draws somebody of the US or of the rest of the world.
    #[must_use]
    pub fn random(rng: &mut impl Rng, us: bool) -> Person {
        let lastname = letters(rng, 10);
        Person {
            firstname: letters(rng, 6),
            address1: format!(
                "{} {} Street",
                rng.random_range(1..10_000u32),
                letters(rng, 8)
            ),
            address2: rng
                .random_bool(0.1)
                .then(|| format!("Flat {}", letters(rng, 4))),
            city: letters(rng, 7),
            state: us.then(|| pick(rng, &US_STATES)),
            zip: if us {
                rng.random_range(10_000..=99_999)
            } else {
                0
            },
            country: if us { "US" } else { pick(rng, &COUNTRIES) },
            region: if us { 1 } else { 2 },
            email: format!("{lastname}@mail.example"),
            phone: digits(rng, 10),
            card_type: rng.random_range(1..=5),
            card: digits(rng, 16),
            card_expires: format!(
                "{}/{:02}",
                rng.random_range(2027..=2031u32),
                rng.random_range(1..=12u32)
            ),
            age: rng.random_range(18..=90),
            income: 20_000 * rng.random_range(1..=5),
            gender: if rng.random::<bool>() { "M" } else { "F" },
            lastname,
        }
    }
}

fn letters(rng: &mut impl Rng, length: usize) -> String {
    (0..length)
        .map(|_| char::from(b'A' + rng.random_range(0..26u8)))
        .collect()
}

fn digits(rng: &mut impl Rng, length: usize) -> String {
    (0..length)
        .map(|_| char::from(b'0' + rng.random_range(0..10u8)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_person_keeps_to_the_space_of_one_row() {
        for seed in 0..500 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let person = Person::random(&mut rng, seed % 2 == 0);
            assert!(rng.get_word_pos() < 256, "rows would overlap");
            assert_eq!(person.state.is_some(), person.region == 1);
        }
    }
}
