//! Valid streams, cut anywhere: all pages are found. Then damaged in a few places: no byte changes.

use arbitrary::{Result as Made, Unstructured};
use godwit_stream::codec::{plan::Plan, walk::End};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{features, shape, walk_twice};
use crate::{Fault, Features, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "structured-stream",
    seeds,
    run,
};

/// What an input means.
struct Case {
    plan: Plan,
    pieces: Vec<u16>,
    damage: Vec<(u32, u8)>,
    keep: u32,
}

fn case(input: &[u8]) -> Made<Case> {
    let u = &mut Unstructured::new(input);
    Ok(Case {
        pieces: shape::list(u, 8, Unstructured::arbitrary)?,
        damage: shape::list(u, 6, Unstructured::arbitrary)?,
        keep: u.arbitrary()?,
        plan: shape::plan(u)?,
    })
}

fn run(input: &[u8]) -> Result<Features, Fault> {
    let Ok(case) = case(input) else {
        return Ok(Features::of("no case"));
    };
    let (mut stream, ram) = case.plan.write();
    let valid = walk_twice(&stream, &case.pieces)?;
    if valid.end != End::RamEnded || valid.interpreted != ram {
        return Err(Fault::Misunderstood);
    }
    if !valid.agrees_with(&case.plan.expected(), &stream) {
        return Err(Fault::Pages);
    }
    // Damage anywhere would mostly hit the content of pages: every second one goes to the beginning of the stream.
    let length = stream.len();
    for (nth, (at, byte)) in case.damage.iter().enumerate() {
        let range = if nth % 2 == 0 {
            length
        } else {
            length.min(600)
        };
        stream[*at as usize % range] = *byte;
    }
    if case.keep % 4 == 0 {
        stream.truncate(case.keep as usize % length);
    }
    let damaged = walk_twice(&stream, &case.pieces)?;
    Ok(Features::of((features(&valid), features(&damaged))))
}

fn seeds() -> Vec<Vec<u8>> {
    let random = |seed| {
        let mut bytes = vec![0; 600];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    };
    (0..32).map(random).collect()
}
