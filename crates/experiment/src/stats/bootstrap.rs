//! How sure is the share of orders kept? A paired block bootstrap over the seconds of both parts.
//!
//! Both parts replay the same orders, so second t of one is paired with second t of the other.
//! Neighbouring seconds are not independent (a blackout delays the orders after it), so whole
//! blocks of seconds are drawn, with replacement and wrapping around the end.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Times the data is drawn anew.
pub const RESAMPLES: usize = 4000;

/// A share in percent with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Orders of the migrating part per order of the baseline, in percent.
    pub percent: f64,
    /// The interval's ends.
    pub ci95: (f64, f64),
}

/// Block length for a window: a twentieth of it, between 5 and 60 seconds, so that even a short
/// run has enough blocks to draw from.
#[must_use]
pub fn block_for(seconds: usize) -> usize {
    (seconds / 20).clamp(5, 60).min(seconds.max(1))
}

/// Orders kept and how sure that is, from the orders per second of both parts. Only the seconds
/// both have are used. `None` if the baseline has no orders.
#[must_use]
pub fn kept_percent(baseline: &[f64], migrating: &[f64], block: usize, seed: u64) -> Option<Kept> {
    let seconds = baseline.len().min(migrating.len());
    let (base, moved) = (
        Sums::of(&baseline[..seconds]),
        Sums::of(&migrating[..seconds]),
    );
    let block = block.clamp(1, seconds.max(1));
    let percent = share(base.all(), moved.all())?;
    let mut chance = ChaCha12Rng::seed_from_u64(seed);
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let (mut base_sum, mut moved_sum) = (0.0, 0.0);
            let mut left = seconds;
            while left > 0 {
                let (start, length) = (chance.random_range(0..seconds), block.min(left));
                base_sum += base.block(start, length);
                moved_sum += moved.block(start, length);
                left -= length;
            }
            share(base_sum, moved_sum)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |q: f64| drawn[((drawn.len() - 1) as f64 * q).round() as usize];
    (!drawn.is_empty()).then(|| Kept {
        percent,
        ci95: (at(0.025), at(0.975)),
    })
}

fn share(base: f64, moved: f64) -> Option<f64> {
    (base > 0.0).then(|| 100.0 * moved / base)
}

/// Prefix sums, so that a block costs two look-ups whatever its length.
struct Sums(Vec<f64>);

impl Sums {
    fn of(values: &[f64]) -> Self {
        let mut sums = vec![0.0];
        let mut total = 0.0;
        for value in values {
            total += value;
            sums.push(total);
        }
        Self(sums)
    }

    fn all(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// Sum of `length` values from `start`, wrapping around the end.
    fn block(&self, start: usize, length: usize) -> f64 {
        let (count, end) = (self.0.len() - 1, start + length);
        if end <= count {
            self.0[end] - self.0[start]
        } else {
            self.all() - self.0[start] + self.0[end - count]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn noisy(seed: u64, seconds: usize, mean: f64) -> Vec<f64> {
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        (0..seconds)
            .map(|_| mean * chance.random_range(0.5..1.5))
            .collect()
    }

    #[test]
    fn equal_parts_keep_everything_for_sure() {
        let orders = noisy(1, 120, 3.0);
        let kept = kept_percent(&orders, &orders, 6, 9).unwrap();
        assert!((kept.percent - 100.0).abs() < 1e-9);
        assert!((kept.ci95.0 - 100.0).abs() < 1e-9 && (kept.ci95.1 - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_fifth_lost_everywhere_is_a_fifth() {
        let orders = noisy(2, 600, 3.0);
        let fewer: Vec<f64> = orders.iter().map(|n| n * 0.8).collect();
        let kept = kept_percent(&orders, &fewer, 30, 9).unwrap();
        assert!((kept.percent - 80.0).abs() < 1e-9);
        assert!((kept.ci95.0 - 80.0).abs() < 1e-6 && (kept.ci95.1 - 80.0).abs() < 1e-6);
    }

    #[test]
    fn independent_parts_give_the_textbooks_width() {
        // Uniform on 0.5..1.5 has a standard deviation of 0.2887 of its mean; the ratio of two
        // means of 1,000 such values then has one of 0.2887 * sqrt(2 / 1000) = 1.29 %.
        let kept = kept_percent(&noisy(3, 1000, 2.0), &noisy(4, 1000, 2.0), 1, 9).unwrap();
        let half_width = (kept.ci95.1 - kept.ci95.0) / 2.0;
        assert!(
            (1.96 * 1.29 - half_width).abs() < 0.35,
            "half width {half_width}"
        );
        assert!(kept.ci95.0 < 100.5 && kept.ci95.1 > 99.5, "{kept:?}");
    }

    #[test]
    fn long_lasting_noise_needs_blocks() {
        // Each value lasts 30 seconds: drawing single seconds claims far too much certainty.
        let slow = |seed| -> Vec<f64> {
            noisy(seed, 40, 2.0)
                .iter()
                .flat_map(|n| std::iter::repeat_n(*n, 30))
                .collect()
        };
        let (base, moved) = (slow(5), slow(6));
        let width = |block| {
            let kept = kept_percent(&base, &moved, block, 9).unwrap();
            kept.ci95.1 - kept.ci95.0
        };
        assert!(width(60) > 3.0 * width(1));
    }

    #[test]
    fn the_seed_decides_and_empty_parts_say_nothing() {
        let (a, b) = (noisy(7, 100, 1.0), noisy(8, 100, 1.0));
        assert_eq!(kept_percent(&a, &b, 5, 1), kept_percent(&a, &b, 5, 1));
        assert_ne!(kept_percent(&a, &b, 5, 1), kept_percent(&a, &b, 5, 2));
        assert_eq!(kept_percent(&[], &b, 5, 1), None);
        assert_eq!(kept_percent(&[0.0; 10], &b, 5, 1), None);
    }

    #[test]
    fn only_seconds_of_both_count() {
        let kept = kept_percent(&[2.0, 2.0, 9.0, 9.0], &[2.0, 2.0], 1, 1).unwrap();
        assert!((kept.percent - 100.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn a_block_is_the_sum_of_its_values(
            values in proptest::collection::vec(0.0f64..10.0, 1..50), start: usize, length: usize,
        ) {
            let (start, length) = (start % values.len(), length % values.len() + 1);
            let by_hand: f64 = (0..length).map(|k| values[(start + k) % values.len()]).sum();
            prop_assert!((Sums::of(&values).block(start, length) - by_hand).abs() < 1e-9);
        }
    }
}
