//! `godwit dvdstore …`: load, drive and audit the DVD Store in any PostgreSQL database.
//!
//! Results go to standard output (a table, or JSON if asked), what happens meanwhile to standard error, so that
//! either can be piped. Exit status 0: done, and for `audit` everything agrees; 1: it does not, or something failed.

mod audit;
mod display;
mod drive;
mod load;
mod log;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

/// Load, drive and audit the DVD Store in a PostgreSQL database
#[derive(Debug, clap::Subcommand)]
pub enum DvdstoreCommand {
    /// Make the store: tables, data of the chosen size, indexes
    Load(load::LoadArgs),
    /// Order from one or more stores at a pace, and say how they did
    Drive(Box<drive::DriveArgs>),
    /// Prove from the database what became of every order
    Audit(audit::AuditArgs),
}

impl DvdstoreCommand {
    /// Does it, and prints for a program if `json` is set.
    pub async fn run(self, json: bool) -> ExitCode {
        let done = match self {
            Self::Load(args) => args.run(json).await,
            Self::Drive(args) => args.run(json).await,
            Self::Audit(args) => args.run(json).await,
        };
        done.unwrap_or_else(|error| {
            eprintln!("godwit dvdstore: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        })
    }
}

/// Prints a result for a program.
fn print_json(result: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(result);
    println!(
        "{}",
        text.expect("results have text keys and finite numbers, which always become JSON")
    );
}

/// Reads `90`, `90s`, `5m`, `1h` or `200ms`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("give a number with ms, s, m or h, such as 90s".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "give a number with ms, s, m or h, such as 90s".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| format!("{text} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: DvdstoreCommand,
    }

    fn parse(line: &str) -> Result<DvdstoreCommand, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(line.split(' '))).map(|line| line.command)
    }

    #[test]
    fn durations_are_read() {
        let good = [
            ("90", 90_000),
            ("90s", 90_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("200ms", 200),
        ];
        for (text, millis) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5d", "-1s", "1e300h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_lines_are_those_of_the_manual() {
        let good = [
            "load postgresql://ds2:ds2@db/ds2 --size 300MB --seed 7 --replace",
            "drive postgresql://db/ds2 --threads 10 --ramp-rate 5 --run-time 10m --warm-up 1m --think-time 2s",
            "drive vm1=postgresql://a/ds2 vm2=postgresql://b/ds2 --open 50 --connections 8 --orders o.csv --compat ds2",
            "audit postgresql://db/ds2 --orders a.csv --orders b.csv --target vm1 --quick",
        ];
        for line in good {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        let bad = [
            "load",
            "load postgresql://db/ds2 --size XXL",
            "drive",
            "drive postgresql://db/ds2 --open 50 --threads 3",
            "drive postgresql://db/ds2 --open 0",
            "drive postgresql://db/ds2 --new-customers 101",
            "drive postgresql://db/ds2 --compat ds9",
            "audit",
        ];
        for line in bad {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
