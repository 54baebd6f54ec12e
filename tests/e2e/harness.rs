//! Runs scenarios one after the other on one farm, says how each ended in the lines that `cargo test` is known for, and
//! takes the farm down however they ended, also after a panic or Ctrl-C.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use godwit_lab::up::Stop;
use tokio::signal::unix::{SignalKind, signal};

use crate::farm::Farm;
use crate::lab::Lab;

/// A scenario that takes longer has hung. Generous: the machine may be busy with others.
const LONGEST: Duration = Duration::from_secs(600);

/// One thing that the farm must do.
pub struct Scenario {
    /// Its name, with its module's.
    pub name: &'static str,
    /// Panics if the farm does not.
    pub run: fn(Arc<Farm>) -> LocalBoxFuture<'static, ()>,
}

/// What was asked for on the command line. Options of the usual harness are understood or passed over.
#[derive(Default)]
struct Arguments {
    filters: Vec<String>,
    skip: Vec<String>,
    list: bool,
    exact: bool,
    ignored: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Self {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => read.list = true,
                "--exact" => read.exact = true,
                "--ignored" => read.ignored = true,
                "--skip" => read.skip.extend(words.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => {
                    drop(words.next());
                }
                option if option.starts_with('-') => {}
                _ => read.filters.push(word),
            }
        }
        read
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        let asked = self.filters.is_empty() || self.filters.iter().any(fits);
        asked && !self.skip.iter().any(fits) && !self.ignored
    }
}

/// How it went.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<&'static str>,
    times: Vec<(&'static str, Duration)>,
}

/// The whole of it.
pub fn main(scenarios: Vec<Scenario>) -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    let all = scenarios.len();
    let chosen: Vec<Scenario> = scenarios
        .into_iter()
        .filter(|one| arguments.wants(one.name))
        .collect();
    if arguments.list {
        chosen.iter().for_each(|one| println!("{}: test", one.name));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let began = Instant::now();
    let left_out = all - chosen.len();
    println!("\nrunning {} tests", chosen.len());
    let outcome = if chosen.is_empty() {
        Ok(Tally::default())
    } else {
        runtime.block_on(on_a_farm(chosen))
    };
    // What a scenario that was given up still does must not hold the end up.
    runtime.shutdown_background();
    match outcome {
        Ok(tally) => tally.report(left_out, began.elapsed()),
        Err(problem) => {
            println!("\nthe tests cannot go on: {problem}\n");
            let elapsed = began.elapsed().as_secs_f64();
            println!(
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; {left_out} filtered out; finished in {elapsed:.2}s\n"
            );
            ExitCode::FAILURE
        }
    }
}

async fn on_a_farm(scenarios: Vec<Scenario>) -> Result<Tally, String> {
    let stop = Stop::default();
    let mut interrupted = tokio::spawn(interruption(stop.clone()));
    let farm = Farm::new(Lab::up(&stop).await?)?;
    let farm = Arc::new(farm);
    let mut tally = Tally::default();
    for scenario in scenarios {
        eprintln!("e2e: {}", scenario.name);
        let began = Instant::now();
        // A scenario that panics has failed; those after it find the farm as it left it.
        let run = AssertUnwindSafe((scenario.run)(farm.clone())).catch_unwind();
        let ended = tokio::select! {
            ended = tokio::time::timeout(LONGEST, run) => ended,
            _ = &mut interrupted => {
                let _ = farm.lab.down();
                return Err("interrupted".to_owned());
            }
        };
        tally.times.push((scenario.name, began.elapsed()));
        if matches!(ended, Ok(Ok(()))) {
            println!("test {} ... ok", scenario.name);
            tally.passed += 1;
            continue;
        }
        if ended.is_err() {
            eprintln!("it did not end within {} s", LONGEST.as_secs());
        }
        println!("test {} ... FAILED", scenario.name);
        println!("{}", farm.lab.logs());
        tally.failed.push(scenario.name);
    }
    farm.lab
        .down()
        .map_err(|error| format!("the farm does not go down: {error}"))?;
    Ok(tally)
}

/// Returns on Ctrl-C or SIGTERM. A lab that is being built is undone then.
async fn interruption(stop: Stop) {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).expect("signals can be listened for"),
        signal(SignalKind::terminate()).expect("signals can be listened for"),
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("e2e: stopping");
    stop.stop();
}

impl Tally {
    fn report(self, left_out: usize, elapsed: Duration) -> ExitCode {
        println!();
        for (name, time) in &self.times {
            println!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        if !self.failed.is_empty() {
            println!("\nfailures:");
            self.failed.iter().for_each(|name| println!("    {name}"));
        }
        let (word, code) = if self.failed.is_empty() {
            ("ok", ExitCode::SUCCESS)
        } else {
            ("FAILED", ExitCode::FAILURE)
        };
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out; finished in {:.2}s\n",
            self.passed,
            self.failed.len(),
            elapsed.as_secs_f64()
        );
        code
    }
}
