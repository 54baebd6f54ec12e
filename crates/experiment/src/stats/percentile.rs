//! Percentiles by nearest rank: always a value that was measured, never one made up between two.

use serde::{Deserialize, Serialize};

/// The value that `percent` of all values do not exceed; `None` without values.
#[must_use]
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    of_sorted(&sorted, percent)
}

fn of_sorted(sorted: &[f64], percent: f64) -> Option<f64> {
    // A hair less, so that 99.9 % of 1,000 values is the 999th in spite of rounding.
    let rank = (percent / 100.0 * sorted.len() as f64 - 1e-9).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The mean; `None` without values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The response times of some orders, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Number of values.
    pub count: usize,
    /// Half of the values are at most this.
    pub p50: Option<f64>,
    /// 95 percent of the values are at most this.
    pub p95: Option<f64>,
    /// 99 percent of the values are at most this.
    pub p99: Option<f64>,
    /// 99.9 percent of the values are at most this.
    pub p999: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Spread {
    /// Sorts once and reads off all percentiles.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            count: sorted.len(),
            p50: of_sorted(&sorted, 50.0),
            p95: of_sorted(&sorted, 95.0),
            p99: of_sorted(&sorted, 99.0),
            p999: of_sorted(&sorted, 99.9),
            max: sorted.last().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_of_the_textbook() {
        let values = [15.0, 20.0, 35.0, 40.0, 50.0];
        assert_eq!(percentile(&values, 5.0), Some(15.0));
        assert_eq!(percentile(&values, 30.0), Some(20.0));
        assert_eq!(percentile(&values, 40.0), Some(20.0));
        assert_eq!(percentile(&values, 50.0), Some(35.0));
        assert_eq!(percentile(&values, 100.0), Some(50.0));
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
    }

    #[test]
    fn one_to_a_thousand() {
        let values: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let spread = Spread::of(&values);
        assert_eq!(spread.count, 1000);
        assert_eq!(spread.p50, Some(500.0));
        assert_eq!(spread.p95, Some(950.0));
        assert_eq!(spread.p99, Some(990.0));
        assert_eq!(spread.p999, Some(999.0));
        assert_eq!(spread.max, Some(1000.0));
    }

    #[test]
    fn means() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
    }
}
