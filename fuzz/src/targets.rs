//! What is fuzzed.

pub mod raw_stream;
pub mod relay_batches;
pub mod relay_frames;
mod shape;
pub mod structured_stream;

use godwit_stream::codec::walk::{End, Walk, walk};

use crate::{Fault, Features, Target};

/// All targets, as `make fuzz` runs them.
pub const ALL: [Target; 4] = [
    raw_stream::TARGET,
    structured_stream::TARGET,
    relay_frames::TARGET,
    relay_batches::TARGET,
];

/// Walks through a stream whole and in pieces: both must give the same, and the stream's own bytes.
fn walk_twice(stream: &[u8], pieces: &[u16]) -> Result<Walk, Fault> {
    let whole = walk(stream, || usize::MAX)?;
    let mut sizes = pieces.iter().map(|&size| usize::from(size)).cycle();
    let cut = walk(stream, || sizes.next().unwrap_or(7))?;
    if whole.rebuilt != stream {
        return Err(Fault::Bytes);
    }
    if whole != cut {
        return Err(Fault::Cut);
    }
    Ok(whole)
}

/// What a walk has reached; numbers only by their size.
fn features(walk: &Walk) -> Features {
    let (pages, zeroes) = walk.counts();
    let reason = match &walk.end {
        // Which kind of reason, not its numbers and names: of those there is no end.
        End::PassThrough(reason) => Some(std::mem::discriminant(reason)),
        _ => None,
    };
    Features::of((
        std::mem::discriminant(&walk.end),
        reason,
        walk.last_section.is_some(),
        [pages, zeroes, walk.interpreted].map(size),
    ))
}

/// How many binary digits a number has.
fn size(number: usize) -> u32 {
    number.checked_ilog2().map_or(0, |log| log + 1)
}
