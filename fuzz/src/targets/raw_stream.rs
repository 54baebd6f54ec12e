//! Any bytes as QEMU's stream: nothing panics, and what comes out is what came in, wherever it is cut.

use arbitrary::Unstructured;
use godwit_stream::codec::writer::Writer;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{features, shape, walk_twice};
use crate::{Fault, Features, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "raw-stream",
    seeds,
    run,
};

/// The first bytes say where to cut, the others are the stream.
fn run(input: &[u8]) -> Result<Features, Fault> {
    let (cuts, stream) = input.split_at(input.len().min(4));
    let pieces: Vec<u16> = cuts.iter().map(|&cut| u16::from(cut) * 3 + 1).collect();
    walk_twice(stream, &pieces).map(|walk| features(&walk))
}

/// A few valid streams: bare bytes would hardly ever come past the first.
fn seeds() -> Vec<Vec<u8>> {
    let with_cuts = |stream: Vec<u8>| [vec![1, 5, 200, 90], stream].concat();
    let random = (0..16).filter_map(|seed| {
        let mut bytes = vec![0; 400];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let plan = shape::plan(&mut Unstructured::new(&bytes)).ok()?;
        Some(plan.write().0)
    });
    [vec![], Writer::new().into_bytes()]
        .into_iter()
        .chain(random)
        .map(with_cuts)
        .collect()
}
