//! The paper's own results (its Table 5), to stand beside ours.

/// Orders per minute of the 20 VMs without migration.
pub const BASELINE_OPM: f64 = 999.3;

/// One line of the paper's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Interval, from 1.
    pub interval: u32,
    /// Migrations in it.
    pub migrations: u32,
    /// Mean seconds of one.
    pub mean_seconds: f64,
    /// Orders per minute of the 20 VMs.
    pub opm: f64,
}

impl Line {
    /// Share of the paper's baseline, in percent.
    #[must_use]
    pub fn kept_percent(self) -> f64 {
        100.0 * self.opm / BASELINE_OPM
    }
}

const fn line(interval: u32, migrations: u32, mean_seconds: f64, opm: f64) -> Line {
    Line {
        interval,
        migrations,
        mean_seconds,
        opm,
    }
}

/// The paper's table.
pub const TABLE_5: [Line; 10] = [
    line(1, 2, 29.8, 967.0),
    line(2, 4, 30.1, 968.0),
    line(3, 6, 28.8, 978.0),
    line(4, 8, 29.3, 980.0),
    line(5, 10, 29.3, 982.0),
    line(6, 12, 28.7, 986.0),
    line(7, 14, 29.7, 986.0),
    line(8, 16, 29.7, 985.0),
    line(9, 18, 29.6, 985.0),
    line(10, 20, 29.3, 985.0),
];

/// The paper's share of orders kept over all intervals, in percent.
#[must_use]
pub fn kept_percent() -> f64 {
    TABLE_5.iter().map(|l| l.kept_percent()).sum::<f64>() / TABLE_5.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_kept_about_98_percent() {
        assert!((kept_percent() - 98.09).abs() < 0.01, "{}", kept_percent());
    }
}
