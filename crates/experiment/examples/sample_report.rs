//! Writes the report of a made-up run, to look at it without a farm:
//! `cargo run -p godwit-experiment --example sample_report -- DIR [demo|half|paper]`.

use godwit_experiment::profile::{Profile, ProfileName};
use godwit_experiment::raw::RunDir;
use godwit_experiment::report::{self, sample};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder to write to")?;
    let name: ProfileName = arguments.next().as_deref().unwrap_or("demo").parse()?;
    let dir = RunDir::save(folder, &sample::of(Profile::named(name), 1))?;
    println!("{}", report::table5_terminal(&report::write(&dir)?));
    Ok(())
}
