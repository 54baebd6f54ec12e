//! The one clock of a measurement: CLOCK_MONOTONIC in nanoseconds.
//!
//! Orders, migrations and CPU samples are compared with each other, so all of them carry readings of the same clock.
//! `std::time::Instant` hides its value and cannot be written to a file; this can.

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A reading of CLOCK_MONOTONIC, in nanoseconds since the machine started.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MonotonicNs(pub u64);

impl MonotonicNs {
    /// Reads the clock.
    #[must_use]
    pub fn now() -> Self {
        let t =
            clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists on every Linux");
        MonotonicNs(u64::try_from(Duration::from(t).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: MonotonicNs) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This reading plus `d`.
    #[must_use]
    pub fn after(self, d: Duration) -> MonotonicNs {
        MonotonicNs(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long it takes from now until this reading; zero if it has passed.
    #[must_use]
    pub fn from_now(self) -> Duration {
        self.since(MonotonicNs::now())
    }
}

impl fmt::Display for MonotonicNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
