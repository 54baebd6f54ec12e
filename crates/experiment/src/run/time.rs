//! The run's one clock: seconds from the start of the measured window, on CLOCK_MONOTONIC.

use std::time::Duration;

use godwit_dvdstore::clock::MonotonicNs;

/// The start of a measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u64);

impl Origin {
    /// The window starts now.
    #[must_use]
    pub fn now() -> Self {
        Self(MonotonicNs::now().0)
    }

    /// The window starts that long from now.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        Self(MonotonicNs::now().after(wait).0)
    }

    /// A moment as seconds of the window; negative before it.
    #[must_use]
    pub fn seconds(self, at: MonotonicNs) -> f64 {
        self.seconds_of(at.0)
    }

    /// A reading of the clock in nanoseconds as seconds of the window.
    #[must_use]
    pub fn seconds_of(self, nanos: u64) -> f64 {
        // To the microsecond, so that files stay readable.
        let micros = (i128::from(nanos) - i128::from(self.0)) / 1000;
        micros as f64 / 1e6
    }

    /// The reading of the clock at that second of the window, in nanoseconds.
    #[must_use]
    pub fn nanos_at(self, seconds: f64) -> u64 {
        self.0.saturating_add_signed((seconds * 1e9) as i64)
    }

    /// Sleeps until that second of the window.
    pub async fn wait_until(self, seconds: f64) {
        let left = seconds - self.seconds(MonotonicNs::now());
        tokio::time::sleep(Duration::from_secs_f64(left.max(0.0))).await;
    }
}

/// Milliseconds to the microsecond.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_before_zero() {
        let origin = Origin(5_000_000_000);
        assert_eq!(origin.seconds(MonotonicNs(4_000_000_000)), -1.0);
        assert_eq!(origin.seconds(MonotonicNs(6_500_000_000)), 1.5);
        assert_eq!(origin.nanos_at(-1.0), 4_000_000_000);
    }
}
