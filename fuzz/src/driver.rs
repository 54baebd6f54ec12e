//! Tries one input after the other until the time is over or something is wrong. The same seed and number of cases
//! give the same inputs.

use std::{
    any::Any,
    collections::HashSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Fault, Features, Target, mutate};

/// Kept inputs; then new ones take the place of old ones.
const CORPUS: usize = 1024;

/// When to end if nothing is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// After this time.
    Time(Duration),
    /// After so many inputs.
    Cases(u64),
}

/// A run in which nothing was wrong.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Inputs tried.
    pub cases: u64,
    /// Different things reached.
    pub features: usize,
}

/// A run that ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// An input for which the target is wrong. It was kept in a file.
    #[error("{target} is wrong (seed {seed}, case {case}); try again with `cargo run -p godwit-fuzz -- replay {target} {}`", .file.display())]
    Found {
        /// The target's name.
        target: &'static str,
        /// Of the run.
        seed: u64,
        /// Which input of the run.
        case: u64,
        /// The input.
        file: PathBuf,
        /// What is wrong.
        source: Fault,
    },
    /// A failing input could not be kept.
    #[error("{target} is wrong ({fault}), but the input cannot be written to {}", .folder.display())]
    Keep {
        /// The target's name.
        target: &'static str,
        /// What is wrong.
        fault: Fault,
        /// Where it was to be kept.
        folder: PathBuf,
        /// Why it could not.
        source: io::Error,
    },
}

/// Fuzzes a target; a failing input is kept in `folder`.
///
/// # Errors
/// The first input for which the target is wrong.
pub fn run(target: &Target, seed: u64, limit: Limit, folder: &Path) -> Result<Summary, FuzzError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut seeds = (target.seeds)().into_iter();
    let mut corpus = vec![];
    let mut reached: HashSet<Features> = HashSet::new();
    let begun = Instant::now();
    let mut case = 0;
    while limit.allows(case, begun) {
        let input = match seeds.next() {
            Some(seed) => seed,
            None => next(&mut rng, &corpus),
        };
        match try_one(target, &input) {
            Ok(features) => {
                if reached.insert(features) {
                    keep(&mut rng, &mut corpus, input);
                }
            }
            Err(fault) => return Err(failure(target, seed, case, &input, fault, folder)),
        }
        case += 1;
    }
    Ok(Summary {
        cases: case,
        features: reached.len(),
    })
}

/// Tries one input; a panic is a fault.
///
/// # Errors
/// What the target says is wrong.
pub fn try_one(target: &Target, input: &[u8]) -> Result<Features, Fault> {
    // Targets are functions of their input: nothing is left half-changed.
    catch_unwind(AssertUnwindSafe(|| (target.run)(input)))
        .unwrap_or_else(|panic| Err(Fault::Panic(message(panic.as_ref()))))
}

impl Limit {
    fn allows(self, case: u64, begun: Instant) -> bool {
        match self {
            Self::Time(time) => begun.elapsed() < time,
            Self::Cases(cases) => case < cases,
        }
    }
}

fn next(rng: &mut impl Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut pick = || corpus.choose(rng).cloned().unwrap_or_default();
    let (mut input, other) = (pick(), pick());
    // Now and then something that nobody has thought of.
    if rng.random_ratio(1, 16) {
        input.clear();
    }
    mutate::mutate(rng, &mut input, &other);
    input
}

fn keep(rng: &mut impl Rng, corpus: &mut Vec<Vec<u8>>, input: Vec<u8>) {
    if corpus.len() < CORPUS {
        corpus.push(input);
    } else {
        let old = rng.random_range(0..corpus.len());
        corpus[old] = input;
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into())
}

fn failure(
    target: &Target,
    seed: u64,
    case: u64,
    input: &[u8],
    fault: Fault,
    folder: &Path,
) -> FuzzError {
    let name = blake3::hash(input).to_hex();
    let file = folder.join(format!("{}-{}", target.name, &name[..16]));
    match std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => FuzzError::Found {
            target: target.name,
            seed,
            case,
            file,
            source: fault,
        },
        Err(source) => FuzzError::Keep {
            target: target.name,
            fault,
            folder: folder.into(),
            source,
        },
    }
}
