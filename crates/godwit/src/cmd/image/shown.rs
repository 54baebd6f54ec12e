//! Progress for people: a terminal gets a line that moves, a log a line every few seconds.

use godwit_lab::image::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// At most this long between two lines where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(4);

/// Progress for people: steps stay, what happens within them passes by.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    step: Option<(String, Instant)>,
    logged: Option<Instant>,
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}: {wide_msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Says how long the step took.
    fn end_step(&self, state: &mut State) {
        if let Some((step, since)) = state.step.take() {
            self.say(&format!("{step} ({:.1} s)", since.elapsed().as_secs_f32()));
        }
    }

    /// The last step is over.
    pub(super) fn end(&self) {
        self.end_step(&mut self.state());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("image: {text}")),
            None => eprintln!("image: {text}"),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Shown {
    fn step(&self, what: &str) {
        let mut state = self.state();
        self.end_step(&mut state);
        state.step = Some((what.to_owned(), Instant::now()));
        state.logged = Some(Instant::now());
        match &self.bar {
            Some(bar) => bar.set_prefix(what.to_owned()),
            None => self.say(&format!("{what} …")),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.log(|_| text.to_owned()),
        }
    }

    fn tick(&self) {
        // A terminal's line moves by itself.
        if self.bar.is_none() {
            self.log(|step| format!("still {step}"));
        }
    }
}

impl Shown {
    /// A line of a log, unless there was one a moment ago.
    fn log(&self, text: impl FnOnce(&str) -> String) {
        let mut state = self.state();
        if state.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            state.logged = Some(Instant::now());
            let step = state.step.as_ref().map_or("at it", |(step, _)| step);
            let since = self.started.elapsed().as_secs_f32();
            self.say(&format!("{since:4.0} s {}", text(step)));
        }
    }
}
