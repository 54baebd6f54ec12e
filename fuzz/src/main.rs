//! `godwit-fuzz run SECONDS [TARGET]` fuzzes for a time, with another seed each time; `godwit-fuzz replay TARGET FILE`
//! tries one kept input again.

use std::{
    error::Error,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use godwit_fuzz::{
    Target,
    driver::{self, Limit},
    targets,
};

const USAGE: &str = "godwit-fuzz run SECONDS [TARGET] | godwit-fuzz replay TARGET FILE";
/// Failing inputs.
const KEPT: &str = "out/fuzz";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", seconds] => run(seconds, &targets::ALL),
        ["run", seconds, name] => target(name).and_then(|target| run(seconds, &[target])),
        ["replay", name, file] => target(name).and_then(|target| replay(&target, file)),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut error: Option<&dyn Error> = Some(&*error);
            while let Some(one) = error {
                eprintln!("godwit-fuzz: {one}");
                error = one.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn target(name: &str) -> Result<Target, Box<dyn Error>> {
    let found = targets::ALL.into_iter().find(|target| target.name == name);
    found.ok_or_else(|| {
        let names = targets::ALL.map(|target| target.name).join(", ");
        format!("no target {name:?}; there are {names}").into()
    })
}

/// The time is shared out among the targets.
fn run(seconds: &str, targets: &[Target]) -> Result<(), Box<dyn Error>> {
    let seconds: u32 = seconds.parse()?;
    let time = Duration::from_secs(seconds.into()) / u32::try_from(targets.len())?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for target in targets {
        println!("{}: {} s with seed {seed}", target.name, time.as_secs());
        let summary = driver::run(target, seed, Limit::Time(time), Path::new(KEPT))?;
        let (cases, features) = (summary.cases, summary.features);
        println!("{}: {cases} inputs, {features} outcomes", target.name);
    }
    Ok(())
}

fn replay(target: &Target, file: &str) -> Result<(), Box<dyn Error>> {
    driver::try_one(target, &std::fs::read(file)?)?;
    println!("{}: nothing is wrong with {file}", target.name);
    Ok(())
}
