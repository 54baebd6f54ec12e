//! How long a migration will take, roughly: good enough to put several into an order.

use super::receipt::Receipt;
use crate::units::Bytes;
use std::time::Duration;

/// Of a VM that has never moved, so many bytes of memory are sent in a second: the shape of a first visit over 1 Gb/s.
const BYTES_PER_SECOND: f64 = 400e6;

/// By its newest move, if that arrived; else by its memory.
#[must_use]
pub fn duration(newest: Option<&Receipt>, memory: Bytes) -> Duration {
    let moved = newest.filter(|receipt| receipt.outcome == super::Outcome::Moved);
    let seconds = match moved {
        Some(receipt) => receipt.total_ms() / 1e3,
        None => memory.0 as f64 / BYTES_PER_SECOND,
    };
    Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_memory_where_nothing_is_known() {
        let small = duration(None, Bytes::mib(512));
        let large = duration(None, Bytes::gib(8));
        assert!(
            small < large && small > Duration::from_millis(500),
            "{small:?}"
        );
    }
}
