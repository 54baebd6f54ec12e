//! Turns a fuzzer's bytes into the plan of a valid stream.

use arbitrary::{Result, Unstructured};
use godwit_stream::codec::{
    PAGE,
    plan::{Announcement, Plan, Record},
    writer::{Block, Subsection},
};

/// Names as QEMU has them, and some at the borders.
const NAMES: [&str; 6] = [
    "pc.ram",
    "pc.bios",
    "/rom@etc/acpi/tables",
    "vga.vram",
    "",
    "x",
];

/// Up to `most` of something.
pub fn list<'a, T>(
    u: &mut Unstructured<'a>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let length = u.int_in_range(0..=most)?;
    let mut all = vec![];
    // Where the bytes are used up, the list ends: the rest would be nothing but zeroes.
    while all.len() < length && !u.is_empty() {
        all.push(one(u)?);
    }
    Ok(all)
}

/// A plan whose stream the parser must understand.
pub fn plan(u: &mut Unstructured<'_>) -> Result<Plan> {
    let shared = u.ratio(1, 4)?.then(|| u.arbitrary()).transpose()?;
    let mut subsections = list(u, 3, subsection)?;
    if shared.is_some() {
        subsections.push(Subsection::Capabilities(vec!["x-ignore-shared".into()]));
    }
    Ok(Plan {
        machine: name(u)?,
        subsections,
        commands: list(u, 4, announcement)?,
        ram: u.arbitrary()?,
        blocks: list(u, 6, |u| block(u, shared))?,
        rounds: list(u, 4, |u| list(u, 24, record))?,
        last: list(u, 24, record)?,
        devices: list(u, 3, |u| {
            Ok((name(u)?, list(u, 40, Unstructured::arbitrary)?))
        })?,
    })
}

fn name(u: &mut Unstructured<'_>) -> Result<String> {
    match u.int_in_range(0..=NAMES.len())? {
        at if at < NAMES.len() => Ok(NAMES[at].into()),
        // The longest that there is.
        _ => Ok("n".repeat(255)),
    }
}

fn subsection(u: &mut Unstructured<'_>) -> Result<Subsection> {
    Ok(match u.int_in_range(0..=2)? {
        0 => Subsection::Capabilities(vec![]),
        1 => Subsection::Uuid(u.arbitrary()?),
        _ => Subsection::TargetPageBits(12),
    })
}

fn announcement(u: &mut Unstructured<'_>) -> Result<Announcement> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Announcement::OpenReturnPath,
        1 => Announcement::Ping(u.arbitrary()?),
        2 => Announcement::PostcopyAdvise,
        3 => Announcement::PostcopyAdviseWithoutMemory,
        _ => Announcement::SwitchoverStart,
    })
}

fn block(u: &mut Unstructured<'_>, address: Option<u64>) -> Result<Block> {
    Ok(Block {
        name: name(u)?,
        length: (u64::from(u.arbitrary::<u32>()?) + 1) * PAGE as u64,
        address,
    })
}

fn record(u: &mut Unstructured<'_>) -> Result<Record> {
    let number = u.arbitrary()?;
    let block = u.ratio(1, 5)?.then(|| name(u)).transpose()?;
    Ok(match u.int_in_range(0..=7)? {
        0 => Record::MultifdFlush,
        1 => {
            let length = *u.choose(&[0, 1, 17, PAGE - 1, PAGE])?;
            let data = vec![u.arbitrary()?; length];
            Record::Xbzrle {
                number,
                block,
                data,
            }
        }
        2..=4 => Record::Page {
            number,
            block,
            seed: None,
        },
        _ => Record::Page {
            number,
            block,
            seed: Some(u.arbitrary()?),
        },
    })
}
