//! Each target for a few seconds, and the driver itself.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use godwit_fuzz::{
    Fault, Features, Target,
    driver::{self, FuzzError, Limit},
    targets::{raw_stream, relay_batches, relay_frames, structured_stream},
};

const SECONDS: Limit = Limit::Time(Duration::from_secs(3));

/// Fuzzes with a fixed seed; failing inputs stay for a look.
fn fuzz(target: &Target) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    match driver::run(target, 1, SECONDS, &folder) {
        Ok(summary) => println!("{}: {summary:?}", target.name),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[test]
fn raw_bytes_as_a_stream() {
    fuzz(&raw_stream::TARGET);
}

#[test]
fn valid_and_damaged_streams() {
    fuzz(&structured_stream::TARGET);
}

#[test]
fn frames_of_a_stranger() {
    fuzz(&relay_frames::TARGET);
}

#[test]
fn batches_of_a_stranger() {
    fuzz(&relay_batches::TARGET);
}

#[test]
fn the_inputs_reach_deep() {
    let folder = tempfile::tempdir().unwrap();
    for (target, least) in [
        (raw_stream::TARGET, 60),
        (structured_stream::TARGET, 200),
        (relay_frames::TARGET, 50),
        (relay_batches::TARGET, 20),
    ] {
        let summary = driver::run(&target, 1, Limit::Cases(3000), folder.path()).unwrap();
        assert!(summary.features >= least, "{}: {summary:?}", target.name);
    }
}

#[test]
fn a_fault_is_found_kept_and_found_again() {
    let planted = Target {
        name: "planted",
        seeds: || vec![vec![7; 10]],
        run: |input| match input {
            [] => Ok(Features::of(0)),
            [.., 0xff] => panic!("planted"),
            _ => Ok(Features::of(input[0])),
        },
    };
    let folder = tempfile::tempdir().unwrap();
    let found = driver::run(&planted, 1, Limit::Cases(1_000_000), folder.path()).unwrap_err();
    let FuzzError::Found { file, source, .. } = found else {
        panic!("{found}");
    };
    assert_eq!(source, Fault::Panic("planted".into()));
    let again = driver::try_one(&planted, &std::fs::read(file).unwrap());
    assert_eq!(again, Err(source));
}
