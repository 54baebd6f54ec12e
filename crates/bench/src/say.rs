//! What a person sees while the bench goes on: lines on standard error, each with the time since the beginning.

use std::time::{Duration, Instant};

/// Speaks to a person.
#[derive(Debug, Clone, Copy)]
pub struct Say {
    began: Instant,
}

impl Default for Say {
    fn default() -> Self {
        Self::new()
    }
}

impl Say {
    /// Time counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// A line.
    pub fn line(&self, text: impl AsRef<str>) {
        let elapsed = clock(self.began.elapsed());
        eprintln!("[{elapsed}] {}", text.as_ref());
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// `m:ss`.
#[must_use]
pub fn clock(time: Duration) -> String {
    let whole = time.as_secs();
    format!("{}:{:02}", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(0)), "0:00");
        assert_eq!(clock(Duration::from_millis(61_900)), "1:01");
    }
}
