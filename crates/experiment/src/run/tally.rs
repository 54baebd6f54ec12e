//! The live line of a measured window: time left, orders per minute, migrations, last blackout.

use godwit_dvdstore::driver::Progress;

use crate::records::{MigrationRow, MoveOutcome};
use crate::run::status::clock;

/// What a person is shown of the migrations.
#[derive(Debug, Default)]
pub struct Tally {
    /// Migrations to come in all.
    pub planned: usize,
    /// Those that succeeded.
    pub done: usize,
    /// Those that failed.
    pub failed: usize,
    /// The VM that moves now.
    pub moving: Option<String>,
    /// What the echo probe saw of the last one.
    pub last_blackout_ms: Option<f64>,
}

impl Tally {
    /// A migration ended.
    pub fn note(&mut self, row: &MigrationRow) {
        self.moving = None;
        match row.outcome {
            MoveOutcome::Ok => self.done += 1,
            MoveOutcome::Failed => self.failed += 1,
            MoveOutcome::NotStarted => {}
        }
    }

    /// The line.
    #[must_use]
    pub fn line(&self, phase: &str, left_s: f64, progress: &Progress) -> String {
        let rates = progress.targets.iter().map(|t| t.recent_orders_per_minute);
        let opm = rates.fold(0.0, |sum, rate| sum + rate);
        let slowest = progress.targets.iter().map(|t| t.recent_max_latency).max();
        let slowest = slowest.unwrap_or_default().as_millis();
        let mut line = format!(
            "{phase}: {} left, {opm:.0} orders/min, slowest {slowest} ms",
            clock(left_s)
        );
        if self.planned > 0 {
            line += &format!(", migrations {} of {}", self.done, self.planned);
        }
        if self.failed > 0 {
            line += &format!(" ({} failed)", self.failed);
        }
        if let Some(ms) = self.last_blackout_ms {
            line += &format!(", last blackout {ms:.0} ms");
        }
        if let Some(vm) = &self.moving {
            line += &format!(", {vm} moves");
        }
        let error = progress
            .targets
            .iter()
            .find_map(|t| Some((&t.name, t.last_error.as_ref()?)));
        if let Some((vm, error)) = error {
            line += &format!(", {vm}: {error}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_matters() {
        let tally = Tally {
            planned: 12,
            done: 3,
            last_blackout_ms: Some(231.4),
            moving: Some("shop-02".to_owned()),
            ..Tally::default()
        };
        let line = tally.line("migrating", 61.0, &Progress::default());
        assert_eq!(
            line,
            "migrating: 1:01 left, 0 orders/min, slowest 0 ms, migrations 3 of 12, \
             last blackout 231 ms, shop-02 moves"
        );
    }
}
