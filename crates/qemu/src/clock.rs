//! The host's CLOCK_MONOTONIC, on which events are stamped when they are read.

use godwit_model::units::MonoNs;

/// Now. The clock stands still while the host is suspended and is never set.
pub(crate) fn now() -> MonoNs {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .expect("Linux always has CLOCK_MONOTONIC");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    MonoNs(seconds * 1_000_000_000 + nanos)
}
