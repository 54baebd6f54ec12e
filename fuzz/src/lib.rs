//! Fuzzing of what reads bytes from outside, on stable Rust and without a sanitizer or an instrumented build.
//!
//! ```text
//! seeds ─► corpus ─► mutate ─► Target::run ─► Ok(Features) ─► new ones? into the corpus
//!                    (seeded)             └─► Err or panic ─► input to a file, end
//! ```
//! In place of a compiler's coverage, a target says what an input has reached ([`Features`]), such as "stopped for
//! this reason after so many pages"; inputs that reach something new are kept and mutated further.
//!
//! A new target: a file in `targets`, a line in [`targets::ALL`], a test in `tests/bounded.rs`.

pub mod driver;
mod mutate;
pub mod targets;

use std::hash::{DefaultHasher, Hash, Hasher};

/// Something to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// As on the command line.
    pub name: &'static str,
    /// Inputs to begin with, beside random ones.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Tries one input.
    pub run: fn(&[u8]) -> Result<Features, Fault>,
}

/// What an input has reached: equal for inputs that are not worth to be kept both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features(u64);

impl Features {
    /// From anything that says what was reached. Within a run only: it may change with the compiler.
    pub fn of(reached: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        reached.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What a target found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The parser broke a promise.
    #[error(transparent)]
    Broken(#[from] godwit_stream::codec::walk::Broken),
    /// The stream made from the items is another.
    #[error("other bytes than those of the stream")]
    Bytes,
    /// The outcome is another when the input is cut elsewhere.
    #[error("another outcome when cut elsewhere")]
    Cut,
    /// A valid stream was not understood to the end.
    #[error("a valid stream not understood")]
    Misunderstood,
    /// Something over its limit was accepted.
    #[error("more accepted than the limit")]
    OverLimit,
    /// Pages of a valid stream were missed or made up.
    #[error("other pages than those of the stream")]
    Pages,
    /// The target panicked.
    #[error("panic: {0}")]
    Panic(String),
}
