//! The destination's half: from Batches back to QEMU's stream, or straight into the guest's memory.

mod layout;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io::IoSlice};

use crate::{
    codec::{Head, PAGE, write_page_head, write_zero},
    pages::{PageHash, PageKey},
    transfer::RestoreError,
    wire::batch::{ASKED, Body, Op, PACKED},
};
use layout::{Layout, Part};

/// What was answered to a Query: the Batch that follows relies on it.
#[derive(Debug, Default)]
pub struct Answered {
    /// For each page asked for, its hash if it was found.
    pub found: Vec<Option<PageHash>>,
    /// The contents of those found, in order.
    pub contents: Vec<[u8; PAGE]>,
}

/// Puts the stream together again and takes its digest.
pub struct Restorer {
    key: PageKey,
    digest: blake3::Hasher,
    answered: VecDeque<Answered>,
    spare: Vec<Answered>,
    /// The block whose pages are laid out for the guest's memory, not for QEMU.
    direct: Option<Vec<u8>>,
    /// Whether the records at this point of the stream are of that block.
    in_direct: bool,
    /// The newest page that QEMU was not given, as long as a record that follows may mean "the block before" and QEMU
    /// would take another one for that.
    untold: Option<u64>,
    /// What that page contains.
    kept: Box<[u8; PAGE]>,
    layout: Layout,
}

/// A restored piece of the stream.
pub struct Piece<'a> {
    layout: &'a Layout,
    contents: &'a [[u8; PAGE]],
    found: &'a [[u8; PAGE]],
    asked: bool,
}

/// Pages that follow each other in the guest's memory.
pub struct Run<'a> {
    /// The first one's offset in the block.
    pub offset: u64,
    /// Their contents.
    pub slices: Vec<IoSlice<'a>>,
}

/// What a slice of zeros is taken from: so many pages.
const ZERO_PAGES: usize = 16;
static ZEROS: [u8; ZERO_PAGES * PAGE] = [0; ZERO_PAGES * PAGE];

impl Restorer {
    /// At the beginning of a stream. Pages of the block `direct` are laid out for the guest's memory.
    #[must_use]
    pub fn new(key: PageKey, direct: Option<&str>) -> Self {
        Self {
            key,
            digest: blake3::Hasher::new(),
            answered: VecDeque::new(),
            spare: Vec::new(),
            direct: direct.map(|name| name.as_bytes().to_vec()),
            in_direct: false,
            untold: None,
            kept: Box::new([0; PAGE]),
            layout: Layout::default(),
        }
    }

    /// An empty answer to fill.
    pub fn blank(&mut self) -> Answered {
        let mut blank = self.spare.pop().unwrap_or_default();
        blank.found.clear();
        blank.contents.clear();
        blank
    }

    /// Keeps an answer until its Batch comes.
    pub fn answered(&mut self, answered: Answered) {
        self.answered.push_back(answered);
    }

    /// How many answers wait for their Batches.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.answered.len()
    }

    /// Restores what a body stands for.
    pub fn restore<'a>(&'a mut self, flags: u8, body: &'a [u8]) -> Result<Piece<'a>, RestoreError> {
        if flags & !(ASKED | PACKED) != 0 {
            return Err(RestoreError::Unasked);
        }
        let body = Body::decode(body)?;
        let asked = flags & ASKED != 0;
        let answered = if asked {
            self.answered.pop_front().ok_or(RestoreError::Unasked)?
        } else {
            let mut none = self.blank();
            none.found.resize(body.pages, None);
            none
        };
        let found = answered.found.iter().flatten().count();
        if answered.found.len() != body.pages
            || found != answered.contents.len()
            || found + body.contents.len() != body.pages
        {
            return Err(RestoreError::Unasked);
        }
        self.lay_out(&body, &answered);
        // It can be used again when the piece is gone, and lies here until then.
        self.spare.push(answered);
        let answered = self.spare.last().ok_or(RestoreError::Unasked)?;
        Ok(Piece {
            layout: &self.layout,
            contents: body.contents,
            found: &answered.contents,
            asked,
        })
    }

    /// The digest, to be continued with what travels as it is.
    pub fn digest(&mut self) -> &mut blake3::Hasher {
        &mut self.digest
    }

    /// What QEMU must be given before anything that is not from a Batch: nothing, or if the stream goes on within the
    /// memory that QEMU was not given, a page of it that says which block this is. From here on QEMU gets all pages.
    pub fn end_of_batches(&mut self) -> Vec<u8> {
        let mut record = Vec::new();
        if let (Some(number), Some(name)) = (self.untold.take(), &self.direct) {
            write_page_head(named(number, name), &mut record);
            record.extend_from_slice(&*self.kept);
        }
        self.direct = None;
        self.in_direct = false;
        record
    }

    fn lay_out(&mut self, body: &Body<'_>, answered: &Answered) {
        self.layout.clear();
        let mut answers = answered.found.iter();
        let mut found = 0..;
        let mut block = None;
        let mut newest = None;
        for op in body.ops() {
            let (first, count, zero) = match op {
                Op::Literal(bytes) => {
                    self.digest.update(bytes);
                    self.literal(bytes, newest);
                    continue;
                }
                Op::Block(name) => {
                    block = Some(name);
                    self.in_direct = self.direct.as_deref() == Some(name);
                    continue;
                }
                Op::Zeros { first, count } => (first, count, true),
                Op::Pages { first, count } => (first, count, false),
            };
            for number in first..first + count as u64 {
                let head = Head {
                    offset: number * PAGE as u64,
                    block: block.take(),
                };
                if self.in_direct {
                    self.untold = Some(number);
                } else if head.block.is_some() {
                    self.untold = None;
                }
                let out = &mut self.layout;
                out.record.clear();
                if zero {
                    write_zero(head, &mut out.record);
                    self.digest.update(&out.record);
                    newest = Some(Part::Zeros(1));
                    out.place(number, Part::Zeros(1), self.in_direct);
                    continue;
                }
                write_page_head(head, &mut out.record);
                self.digest.update(&out.record);
                let (part, hash) = match answers.next() {
                    Some(Some(hash)) => (Part::Found(found.next().unwrap_or(0)), *hash),
                    _ => {
                        let at = out.received.len();
                        let hash = self.key.hash(&body.contents[at]);
                        out.received.push(hash);
                        (Part::Received(at), hash)
                    }
                };
                self.digest.update(&hash.0);
                newest = Some(part);
                out.place(number, part, self.in_direct);
            }
        }
        if let (Some(_), Some(part)) = (self.untold, newest) {
            *self.kept = match part {
                Part::Received(at) => body.contents[at],
                Part::Found(at) => answered.contents[at],
                _ => [0; PAGE],
            };
        }
    }

    /// Gives QEMU bytes as they are. If they may be a record of the block that QEMU was not told of, it is told now, by
    /// the newest page of it, and gets the block's pages from here on: only in one place is their order kept.
    fn literal(&mut self, bytes: &[u8], newest: Option<Part>) {
        let out = &mut self.layout;
        if let (Some(number), Some(name)) = (self.untold, &self.direct) {
            match what_follows(bytes) {
                Following::Records => {}
                Following::Section => self.untold = None,
                Following::Unknown => {
                    let mut record = Vec::new();
                    write_page_head(named(number, name), &mut record);
                    out.literal(&record);
                    match newest {
                        None => out.literal(&*self.kept),
                        Some(Part::Zeros(_)) => out.literal(&[0; PAGE]),
                        Some(part) => out.stream.push(part),
                    }
                    self.untold = None;
                    self.direct = None;
                    self.in_direct = false;
                }
            }
        }
        out.literal(bytes);
    }
}

fn named(number: u64, block: &[u8]) -> Head<'_> {
    Head {
        offset: number * PAGE as u64,
        block: Some(block),
    }
}

/// What bytes are that follow a record of a page.
enum Following {
    /// Marks between records, and nothing else.
    Records,
    /// The end of the section: whatever follows names its block.
    Section,
    Unknown,
}

fn what_follows(mut bytes: &[u8]) -> Following {
    // Flags in a word of its own (RAM_SAVE_FLAG_EOS and RAM_SAVE_FLAG_MULTIFD_FLUSH in QEMU's migration/ram.c).
    const END: u64 = 0x10;
    const FLUSH: u64 = 0x200;
    while let Some((word, rest)) = bytes.split_first_chunk() {
        match u64::from_be_bytes(*word) {
            END => return Following::Section,
            FLUSH => bytes = rest,
            _ => return Following::Unknown,
        }
    }
    if bytes.is_empty() {
        Following::Records
    } else {
        Following::Unknown
    }
}

impl<'a> Piece<'a> {
    fn slices(&self, parts: &[Part]) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(parts.len());
        for part in parts {
            match *part {
                Part::Small(from, to) => slices.push(IoSlice::new(&self.layout.small[from..to])),
                Part::Received(at) => slices.push(IoSlice::new(&self.contents[at])),
                Part::Found(at) => slices.push(IoSlice::new(&self.found[at])),
                Part::Zeros(mut count) => {
                    while count > 0 {
                        let some = count.min(ZERO_PAGES);
                        slices.push(IoSlice::new(&ZEROS[..some * PAGE]));
                        count -= some;
                    }
                }
            }
        }
        slices
    }

    /// What QEMU gets of it, in order.
    #[must_use]
    pub fn stream(&self) -> Vec<IoSlice<'a>> {
        self.slices(&self.layout.stream)
    }

    /// What goes into the guest's memory of it, in order.
    pub fn memory(&self) -> impl Iterator<Item = Run<'a>> {
        self.layout.memory.iter().map(|run| Run {
            offset: run.first * PAGE as u64,
            slices: self.slices(&run.parts),
        })
    }

    /// The pages that came over the network.
    pub fn received(&self) -> impl Iterator<Item = (PageHash, &'a [u8; PAGE])> {
        self.layout
            .received
            .iter()
            .copied()
            .zip(self.contents.iter())
    }

    /// Whether the source had asked for its pages.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked
    }
}
