//! Changes an input a little: bits, bytes, numbers at borders, pieces copied, cut, doubled and joined.

use rand::{Rng, seq::IndexedRandom};

/// Inputs do not grow over this.
pub const LONGEST: usize = 64 << 10;

const BORDERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0x1001,
    0xffff,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX,
];

/// Changes `input` in one to eight ways; `other` is a second input to take pieces from.
pub fn mutate(rng: &mut impl Rng, input: &mut Vec<u8>, other: &[u8]) {
    let changes = 1 << rng.random_range(0..4);
    for _ in 0..changes {
        change(rng, input, other);
    }
    input.truncate(LONGEST);
}

fn change(rng: &mut impl Rng, input: &mut Vec<u8>, other: &[u8]) {
    if input.is_empty() {
        input.resize(rng.random_range(1..256), 0);
        rng.fill(&mut input[..]);
        return;
    }
    let at = rng.random_range(0..input.len());
    match rng.random_range(0..8) {
        0 => input[at] ^= 1 << rng.random_range(0..8),
        1 => input[at] = rng.random(),
        2 => number(rng, &mut input[at..]),
        3 => {
            let end = at + piece(rng, input.len() - at);
            input.drain(at..end);
        }
        4 => {
            let copy = input[at..at + piece(rng, input.len() - at)].to_vec();
            insert(input, at, &copy);
        }
        5 => {
            let mut fresh = vec![0; rng.random_range(1..32)];
            rng.fill(&mut fresh[..]);
            insert(input, at, &fresh);
        }
        6 if !other.is_empty() => {
            let from = rng.random_range(0..other.len());
            let copy = &other[from..from + piece(rng, other.len() - from)];
            insert(input, at, copy);
        }
        _ => input.truncate(at + 1),
    }
}

/// A big-endian number, as all that is read from outside.
fn number(rng: &mut impl Rng, place: &mut [u8]) {
    let value = BORDERS.choose(rng).copied().unwrap_or_default();
    let bytes = value.to_be_bytes();
    let size = (1 << rng.random_range(0..4)).min(place.len());
    place[..size].copy_from_slice(&bytes[8 - size..]);
}

/// A length up to `most`, more often a short one.
fn piece(rng: &mut impl Rng, most: usize) -> usize {
    let most = if rng.random_bool(0.8) {
        most.min(64)
    } else {
        most
    };
    rng.random_range(1..=most)
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
