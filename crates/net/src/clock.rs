//! One clock for everything that is measured: CLOCK_MONOTONIC, shared by all processes of a machine.

use std::time::Duration;

pub use godwit_model::units::MonoNs;
use nix::time::{ClockId, clock_gettime};

/// Now.
#[must_use]
pub fn now() -> MonoNs {
    MonoNs(read(ClockId::CLOCK_MONOTONIC))
}

/// Time from `earlier` to `later`; zero when they are the other way round.
#[must_use]
pub const fn between(earlier: MonoNs, later: MonoNs) -> Duration {
    Duration::from_nanos(later.0.saturating_sub(earlier.0))
}

/// `moment` moved on by `step`.
#[must_use]
pub fn plus(moment: MonoNs, step: Duration) -> MonoNs {
    MonoNs(moment.0.saturating_add(nanos(step)))
}

/// A duration in whole nanoseconds; 584 years are enough for everything here.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads a clock that every Linux has; zero if it does not (it always does).
pub(crate) fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| nanos(Duration::from(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_never_below_zero() {
        let before = now();
        let after = plus(before, Duration::from_millis(5));
        assert_eq!(between(before, after), Duration::from_millis(5));
        assert_eq!(between(after, before), Duration::ZERO);
        assert!(now() >= before);
    }
}
