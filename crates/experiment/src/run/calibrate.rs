//! Which rate makes the hosts as busy as asked for? A pure search over measured points; [`super`]
//! does the measuring.

use crate::raw::CalibrationStep;

/// Points of CPU that are near enough.
const NEAR: f64 = 2.0;
/// Steps after which the nearest is taken.
const MOST_STEPS: usize = 7;
/// Orders per minute and VM to begin with.
const FIRST: f64 = 30.0;
/// The rates that are tried.
const RATES: std::ops::RangeInclusive<f64> = 1.0..=1200.0;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Measure at this rate.
    Try(f64),
    /// Take this rate.
    Take(f64),
    /// There is none: the hosts are busier than that already with next to no orders.
    Hopeless,
}

/// Decides the next step of the search.
#[must_use]
pub fn next(points: &[CalibrationStep], target: f64) -> Next {
    let Some(last) = points.last() else {
        return Next::Try(FIRST);
    };
    let off = |p: &CalibrationStep| (p.cpu_percent - target).abs();
    let nearest = points
        .iter()
        .min_by(|a, b| off(a).total_cmp(&off(b)))
        .unwrap_or(last);
    if off(nearest) <= NEAR {
        return Next::Take(nearest.orders_per_minute_per_vm);
    }
    let rate = last.orders_per_minute_per_vm;
    if rate <= *RATES.start() && last.cpu_percent > target {
        return Next::Hopeless;
    }
    if points.len() >= MOST_STEPS {
        return Next::Take(nearest.orders_per_minute_per_vm);
    }
    let guess = match bracket(points, target) {
        Some((below, above)) => between(below, above, target),
        // A measurement is rough: no leap further than a factor of three.
        None => beyond(points, target)
            .unwrap_or(rate * target / last.cpu_percent.max(1.0))
            .clamp(rate / 3.0, rate * 3.0),
    };
    Next::Try(guess.clamp(*RATES.start(), *RATES.end()))
}

/// The highest rate that left the hosts too idle and the lowest that made them too busy, if they lie that way round.
fn bracket(
    points: &[CalibrationStep],
    target: f64,
) -> Option<(&CalibrationStep, &CalibrationStep)> {
    let rate = |p: &&CalibrationStep| p.orders_per_minute_per_vm;
    let (below, above): (Vec<_>, Vec<_>) = points.iter().partition(|p| p.cpu_percent < target);
    let below = below
        .into_iter()
        .max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let above = above
        .into_iter()
        .min_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    (rate(&below) < rate(&above)).then_some((below, above))
}

/// Where the line between two points meets the target, but well away from both: what was measured there is known.
fn between(below: &CalibrationStep, above: &CalibrationStep, target: f64) -> f64 {
    let share = (target - below.cpu_percent) / (above.cpu_percent - below.cpu_percent);
    let (from, to) = (
        below.orders_per_minute_per_vm,
        above.orders_per_minute_per_vm,
    );
    from + (to - from) * share.clamp(0.15, 0.85)
}

/// Where the line through the two points nearest to the target meets it, all points being on one side; `None` with
/// one point, or where more orders seem to cost less.
fn beyond(points: &[CalibrationStep], target: f64) -> Option<f64> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| {
        (a.cpu_percent - target)
            .abs()
            .total_cmp(&(b.cpu_percent - target).abs())
    });
    let [a, b] = [sorted.first()?, sorted.get(1)?];
    let slope =
        (b.cpu_percent - a.cpu_percent) / (b.orders_per_minute_per_vm - a.orders_per_minute_per_vm);
    (slope.is_finite() && slope > 1e-6)
        .then(|| a.orders_per_minute_per_vm + (target - a.cpu_percent) / slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn search(target: f64, cpu: impl Fn(f64) -> f64) -> Option<(f64, usize)> {
        let mut points = Vec::new();
        loop {
            match next(&points, target) {
                Next::Take(rate) => return Some((rate, points.len())),
                Next::Hopeless => return None,
                Next::Try(rate) => points.push(CalibrationStep {
                    orders_per_minute_per_vm: rate,
                    cpu_percent: cpu(rate).min(100.0),
                }),
            }
        }
    }

    proptest! {
        #[test]
        fn finds_the_rate_of_a_straight_machine(idle in 0.0f64..40.0, slope in 0.15f64..1.0) {
            let cpu = |rate: f64| idle + slope * rate;
            let (rate, steps) = search(57.0, cpu).expect("57 % lies above idle");
            prop_assert!((cpu(rate) - 57.0).abs() <= NEAR, "{} after {} steps", cpu(rate), steps);
        }
    }

    #[test]
    fn finds_the_rate_of_a_saturating_machine() {
        let cpu = |rate: f64| 100.0 * (1.0 - (-rate / 60.0).exp());
        let (rate, _) = search(57.0, cpu).unwrap();
        assert!((cpu(rate) - 57.0).abs() <= NEAR);
    }

    #[test]
    fn an_idle_machine_that_is_too_busy_is_hopeless() {
        assert_eq!(search(57.0, |rate| 80.0 + rate * 0.01), None);
    }

    #[test]
    fn a_machine_that_saturates_suddenly_is_searched_between_its_points() {
        let points = [(30.0, 19.9), (86.0, 31.9), (204.0, 97.7)];
        let points = points.map(|(rate, cpu_percent)| CalibrationStep {
            orders_per_minute_per_vm: rate,
            cpu_percent,
        });
        let Next::Try(rate) = next(&points, 57.0) else {
            panic!("57 % lies between the last two");
        };
        assert!((100.0..190.0).contains(&rate), "{rate}");
        let cpu = |rate: f64| {
            if rate < 140.0 {
                15.0 + rate * 0.2
            } else {
                43.0 + (rate - 140.0) * 1.6
            }
        };
        let (rate, steps) = search(57.0, cpu).unwrap();
        assert!(
            (cpu(rate) - 57.0).abs() <= NEAR,
            "{} after {steps}",
            cpu(rate)
        );
    }

    #[test]
    fn noise_ends_with_the_nearest() {
        let points: Vec<_> = [
            (30.0, 40.0),
            (60.0, 39.0),
            (90.0, 70.0),
            (60.0, 50.0),
            (65.0, 62.0),
            (63.0, 51.0),
            (63.5, 51.5),
        ]
        .map(|(rate, cpu_percent)| CalibrationStep {
            orders_per_minute_per_vm: rate,
            cpu_percent,
        })
        .to_vec();
        assert_eq!(next(&points, 57.0), Next::Take(65.0));
    }
}
