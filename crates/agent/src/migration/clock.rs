//! When a copy paused and when the other ran, on one clock.
//!
//! Of the two times that a QMP event has, QEMU's own timestamp is taken: it is made when the
//! event is, while ours is made when this process got round to reading it, which on a busy host
//! can be milliseconds later. It is wall time in microseconds, so it is moved to the monotonic
//! clock by the difference of the two clocks now; a step of the wall clock between the event and
//! now would spoil that, so a result that does not lie shortly before the moment of reading is
//! dropped for that moment.
//!
//! STOP is sent after the vCPUs have stopped, RESUME just before they go on: the blackout is
//! measured short by the time that either takes, some tens of microseconds.

use godwit_api::agent::client::AgentClient;
use godwit_model::units::MonoNs;
use godwit_net::clock::now;
use godwit_qemu::qmp::Event;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rounds by which an offset is measured; the quickest counts.
const ROUNDS: usize = 8;
/// An event read later than this after it was made is not believed to be so old.
const PLAUSIBLE: u64 = 5_000_000_000;

/// When an event happened.
#[must_use]
pub fn moment(event: &Event) -> MonoNs {
    let made = event
        .qemu_time
        .and_then(|time| u64::try_from(time.as_nanos()).ok());
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|time| u64::try_from(time.as_nanos()).ok());
    let (Some(made), Some(wall)) = (made, wall) else {
        return event.received;
    };
    converted(made, wall, now(), event.received)
}

/// `made` and `wall` on the wall clock, the others on the monotonic one.
fn converted(made: u64, wall: u64, mono: MonoNs, received: MonoNs) -> MonoNs {
    let age = wall.checked_sub(made);
    let moment = age.and_then(|age| mono.0.checked_sub(age));
    match moment {
        // Up to a microsecond later is rounding.
        Some(moment) if moment <= received.0 + 1000 && received.0 < moment + PLAUSIBLE => {
            MonoNs(moment)
        }
        _ => received,
    }
}

/// What turns another host's monotonic moments into ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// To be added to its moments, in nanoseconds.
    nanos: i128,
    /// At most this wrong, in nanoseconds.
    error: u64,
}

impl Offset {
    /// The other host's clock is this one.
    pub const SAME: Self = Self { nanos: 0, error: 0 };

    /// Its moment on our clock.
    #[must_use]
    pub fn ours(self, theirs: MonoNs) -> MonoNs {
        let moment = i128::from(theirs.0) + self.nanos;
        MonoNs(u64::try_from(moment.max(0)).unwrap_or(u64::MAX))
    }

    /// In milliseconds.
    #[must_use]
    pub fn error_ms(self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a round trip fits well
        let error = self.error as f64;
        error / 1e6
    }

    /// From one round trip: asked and answered on our clock, `theirs` read in between.
    fn of_round(asked: MonoNs, theirs: MonoNs, answered: MonoNs) -> Self {
        let trip = answered.0.saturating_sub(asked.0);
        let middle = asked.0 + trip / 2;
        Self {
            nanos: i128::from(middle) - i128::from(theirs.0),
            error: trip.div_ceil(2),
        }
    }
}

/// Measures the offset to another host's clock; none if it does not answer.
pub async fn offset(peer: &AgentClient, own_boot: &str) -> Option<Offset> {
    let mut best: Option<Offset> = None;
    for _ in 0..ROUNDS {
        let asked = now();
        let reading = peer.clock().await.ok()?;
        let answered = now();
        if reading.boot_id == own_boot {
            return Some(Offset::SAME);
        }
        let found = Offset::of_round(asked, reading.mono, answered);
        if best.is_none_or(|best| found.error < best.error) {
            best = Some(found);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_dated_by_qemu_unless_that_is_absurd() {
        // Made 3 ms before it was read, and looked at 1 ms later.
        let (wall, mono) = (1_000_004_000_000, MonoNs(50_004_000_000));
        let received = MonoNs(50_003_000_000);
        let moment = |made| converted(made, wall, mono, received);
        assert_eq!(moment(1_000_000_000_000), MonoNs(50_000_000_000));
        // The wall clock was set in between.
        assert_eq!(moment(2_000_000_000_000), received);
        assert_eq!(moment(900_000_000_000), received);
    }

    #[test]
    fn an_offset_is_right_within_half_a_round_trip() {
        // Their clock is 7 s ahead; the way there takes 1 ms, the way back 3 ms.
        let real = MonoNs(10_001_000_000);
        let offset = Offset::of_round(
            MonoNs(10_000_000_000),
            MonoNs(real.0 + 7_000_000_000),
            MonoNs(10_004_000_000),
        );
        let ours = offset.ours(MonoNs(real.0 + 7_000_000_000));
        assert!(ours.0.abs_diff(real.0) <= 2_000_000);
        assert!((offset.error_ms() - 2.0).abs() < 1e-9);
    }
}
