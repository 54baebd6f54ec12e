//! Any bytes as Batches at a destination that has answered Queries: nothing panics, and however small a Batch is, what it
//! stands for is bounded.

use godwit_stream::{
    codec::{Head, PAGE},
    pages::PageKey,
    transfer::Restorer,
    wire::batch::{ASKED, MAX_EXPANDED, MAX_PAGES, OpWriter},
};

use super::size;
use crate::{Fault, Features, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "relay-batches",
    seeds,
    run,
};

/// `flags u8 | pages asked for u8 | length u16 | body`, again and again.
fn run(mut input: &[u8]) -> Result<Features, Fault> {
    let key: PageKey = "5e".repeat(32).parse().map_err(|_| Fault::Misunderstood)?;
    let mut restorer = Restorer::new(key.clone(), Some("pc.ram"));
    let mut reached = vec![];
    while let Some(([flags, asked, high, low], rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (body, after) = rest.split_at(length);
        if flags & ASKED != 0 {
            answer(&mut restorer, &key, usize::from(*asked) % (MAX_PAGES + 1));
        }
        match restorer.restore(*flags, body) {
            Ok(piece) => {
                let stream: usize = piece.stream().iter().map(|slice| slice.len()).sum();
                let memory: usize = piece
                    .memory()
                    .flat_map(|run| run.slices)
                    .map(|slice| slice.len())
                    .sum();
                let received = piece.received().count();
                // A zero page's record is nine bytes, and becomes a page where it goes into memory.
                if stream > MAX_EXPANDED || memory > MAX_EXPANDED / 9 * PAGE || received > MAX_PAGES
                {
                    return Err(Fault::OverLimit);
                }
                reached.push(Ok([stream, memory, received].map(size)));
            }
            Err(error) => {
                reached.push(Err(format!("{error:?}")));
                break;
            }
        }
        input = after;
    }
    Ok(Features::of(reached))
}

/// Every second page is there.
fn answer(restorer: &mut Restorer, key: &PageKey, pages: usize) {
    let mut answered = restorer.blank();
    for page in 0..pages {
        let content = [page as u8; PAGE];
        let found = page % 2 == 0;
        answered.found.push(found.then(|| key.hash(&content)));
        if found {
            answered.contents.push(content);
        }
    }
    restorer.answered(answered);
}

/// Batches that are right: two pages asked for of which one is there, zeros, as many zeros as may be, and what goes on as it
/// is.
fn seeds() -> Vec<Vec<u8>> {
    let head = |number: u64, block| Head {
        offset: number * PAGE as u64,
        block,
    };
    let mut asked = OpWriter::default();
    asked.literal(b"section");
    asked.page(head(4, Some(b"pc.ram")));
    asked.page(head(5, None));
    let mut told = OpWriter::default();
    told.zero(head(7, Some(b"vga.vram")));
    told.zero(head(8, None));
    told.page(head(1, Some(b"pc.ram")));
    let mut most = OpWriter::default();
    most.zero(head(0, Some(b"pc.ram")));
    (1..MAX_EXPANDED as u64 / 9 - 1).for_each(|number| most.zero(head(number, None)));
    let mut as_it_is = OpWriter::default();
    as_it_is.as_it_is();
    let mut seeds = vec![
        batch([ASKED, 2], &mut asked, 1),
        batch([0, 0], &mut told, 1),
        batch([0, 0], &mut most, 0),
        batch([0, 0], &mut as_it_is, 0),
    ];
    seeds.push(seeds.concat());
    seeds
}

/// Flags and how many pages were asked for, then the body with so many contents.
fn batch(begin: [u8; 2], ops: &mut OpWriter, contents: usize) -> Vec<u8> {
    let ops = ops.finish();
    let length = (ops.len() as u32).to_be_bytes();
    let body = [&length[..], ops, &vec![9; contents * PAGE]].concat();
    [&begin[..], &(body.len() as u16).to_be_bytes(), &body].concat()
}
