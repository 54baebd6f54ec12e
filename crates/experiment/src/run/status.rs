//! What a person sees while a run goes on: steps as lines, and one live line. Without a terminal
//! the live line is printed anew every few seconds, so that there is never a long silence.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal the live line appears this often.
const EVERY: Duration = Duration::from_secs(5);

/// Shows a run to a person, on standard error.
#[derive(Debug)]
pub struct Status {
    bar: Option<ProgressBar>,
    printed: Mutex<Option<Instant>>,
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Status {
    /// A live line if standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            printed: Mutex::new(None),
        }
    }

    /// A step: stays on the screen.
    pub fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// What is going on now.
    pub fn live(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
            return;
        }
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if printed.is_none_or(|at| at.elapsed() >= EVERY) {
            eprintln!("  {text}");
            *printed = Some(Instant::now());
        }
    }

    /// Takes the live line off the screen.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `m:ss`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil() as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_minutes_and_seconds() {
        assert_eq!(clock(0.0), "0:00");
        assert_eq!(clock(61.2), "1:02");
        assert_eq!(clock(-3.0), "0:00");
    }
}
