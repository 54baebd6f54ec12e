//! What is done for a VM that writes its memory faster than it can be sent: the pause that QEMU may plan grows step by
//! step, up to a limit; after that only auto-converge helps, and in the end the migration is given up.

use std::time::Duration;

/// Passes over the memory that every VM gets before the pause grows: a busy one settles within them.
const PASSES: u64 = 5;
/// Passes between two steps.
const EACH: u64 = 2;

/// The pause that QEMU may plan in this pass over the memory: what was asked for at first, then half as much again
/// every other pass, and never more than `most` (but at least what was asked for).
#[must_use]
pub fn downtime_limit(asked: Duration, most: Duration, pass: u64) -> Duration {
    let steps = pass.saturating_sub(PASSES).div_ceil(EACH).min(32);
    let grown = asked.as_secs_f64() * 1.5_f64.powi(i32::try_from(steps).unwrap_or(32));
    Duration::from_secs_f64(grown.min(most.as_secs_f64())).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_step_by_step_and_ends() {
        let limit = |pass| {
            let ms = Duration::from_millis;
            downtime_limit(ms(30), ms(300), pass).as_millis()
        };
        assert_eq!([1, 3, 5].map(limit), [30, 30, 30]);
        assert_eq!([6, 7, 8, 9, 10].map(limit), [45, 45, 67, 67, 101]);
        assert_eq!([16, 30, u64::MAX].map(limit), [300, 300, 300]);
        let ms = Duration::from_millis;
        assert_eq!(downtime_limit(ms(500), ms(300), 40), ms(500));
        assert_eq!(downtime_limit(ms(0), ms(300), 40), ms(0));
    }
}
