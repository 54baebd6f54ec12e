//! Scales and ticks of a chart's axes.

/// A linear scale from values to places on the picture.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Scale {
    /// Values `from..to` lie at `begin..end` (which may run backwards, as y does).
    pub fn new(from: f64, to: f64, begin: f64, end: f64) -> Self {
        Self {
            from,
            to: if to > from { to } else { from + 1.0 },
            begin,
            end,
        }
    }

    /// The place of a value; values beyond the ends are put on the end.
    pub fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.begin + share * (self.end - self.begin)
    }
}

/// Round values from 0 to at least `max`, about `wanted` steps apart.
pub fn ticks(max: f64, wanted: usize) -> Vec<f64> {
    let max = if max.is_finite() && max > 0.0 {
        max
    } else {
        1.0
    };
    let rough = max / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let count = (max / step - 1e-9).ceil() as usize;
    (0..=count).map(|k| k as f64 * step).collect()
}

/// A tick's label without needless digits, with a thin space between thousands.
pub fn label(value: f64, step: f64) -> String {
    let digits = if step >= 1.0 && (step.fract() == 0.0) {
        0
    } else if step >= 0.1 {
        1
    } else {
        2
    };
    let plain = format!("{value:.digits$}");
    let (whole, fraction) = plain
        .split_once('.')
        .map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (k, digit) in whole.chars().enumerate() {
        if k > 0 && (whole.len() - k).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |f| format!("{grouped}.{f}"))
}

/// Ticks of a time axis with their labels: seconds in a short window, minutes in a long one.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeTicks {
    /// Where, in seconds, and what to write there.
    pub ticks: Vec<(f64, String)>,
    /// The axis' title.
    pub title: &'static str,
}

/// Ticks for a window of that many seconds.
pub fn time_ticks(window_s: f64) -> TimeTicks {
    const STEPS: [f64; 14] = [
        1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 3600.0,
        7200.0,
    ];
    let step = STEPS
        .into_iter()
        .find(|s| window_s / s <= 10.5)
        .unwrap_or(14_400.0);
    let minutes = step >= 60.0;
    let count = (window_s / step + 1e-9).floor() as usize;
    let tick = |k: usize| {
        let t = k as f64 * step;
        (
            t,
            if minutes {
                format!("{:.0}", t / 60.0)
            } else {
                format!("{t:.0}")
            },
        )
    };
    TimeTicks {
        ticks: (0..=count).map(tick).collect(),
        title: if minutes {
            "minutes of the measured window"
        } else {
            "seconds of the measured window"
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_maximum() {
        assert_eq!(ticks(217.0, 4), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(ticks(100.0, 4), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(ticks(3.3, 3), [0.0, 2.0, 4.0]);
        assert_eq!(ticks(0.0, 4).first(), Some(&0.0));
        for max in [0.01, 0.7, 1.0, 9.9, 10.1, 999.0, 12_345.0] {
            let ticks = ticks(max, 4);
            assert!(
                ticks.last().unwrap() >= &max && ticks.len() <= 7,
                "{max}: {ticks:?}"
            );
        }
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(label(1200.0, 200.0), "1\u{202f}200");
        assert_eq!(label(2.5, 2.5), "2.5");
        assert_eq!(label(50.0, 50.0), "50");
    }

    #[test]
    fn time_is_labelled_in_seconds_or_minutes() {
        let short = time_ticks(105.0);
        assert_eq!(short.ticks[1], (10.0, "10".to_owned()));
        let long = time_ticks(6000.0);
        assert_eq!(long.ticks.last().unwrap(), &(6000.0, "100".to_owned()));
        assert!(long.title.contains("minutes"));
    }

    #[test]
    fn scales_clamp_and_run_backwards() {
        let y = Scale::new(0.0, 10.0, 200.0, 100.0);
        assert_eq!((y.at(0.0), y.at(5.0), y.at(99.0)), (200.0, 150.0, 100.0));
    }
}
