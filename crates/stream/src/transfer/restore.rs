//! The destination's half: from Batches back to QEMU's stream, or straight into the guest's memory.

use std::{collections::VecDeque, io::IoSlice};

use crate::{
    codec::{Head, PAGE},
    pages::{PageHash, PageKey},
    transfer::RestoreError,
    wire::batch::{ASKED, Body, Op, PACKED},
};

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
    layout: Layout,
}

/// Where the parts of a piece lie.
#[derive(Debug, Default)]
struct Layout {
    /// Literals, and records without contents.
    small: Vec<u8>,
    /// What QEMU gets.
    stream: Vec<Part>,
    /// What goes into the guest's memory: runs of pages.
    memory: Vec<MemoryRun>,
    /// Hashes of the contents that came, in order.
    received: Vec<PageHash>,
    /// The block that QEMU must be told of before records follow that it has not been given the first one of.
    untold: Option<Vec<u8>>,
    /// A record, as the digest takes it.
    record: Vec<u8>,
}

/// Pages that follow each other: from one number up to before another.
#[derive(Debug)]
struct MemoryRun {
    first: u64,
    end: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    /// A range of `small`.
    Small(usize, usize),
    /// A page of the contents that came.
    Received(usize),
    /// A page of the contents that were found.
    Found(usize),
    /// So many zero pages.
    Zeros(usize),
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

    fn lay_out(&mut self, body: &Body<'_>, answered: &Answered) {
        let out = &mut self.layout;
        out.clear();
        let mut answers = answered.found.iter();
        let mut found = 0..;
        let mut block = None;
        for op in body.ops() {
            let (first, count, zero) = match op {
                Op::Literal(bytes) => {
                    self.digest.update(bytes);
                    out.literal(bytes);
                    continue;
                }
                Op::Block(name) => {
                    block = Some(name);
                    self.in_direct = self.direct.as_deref() == Some(name);
                    continue;
                }
                Op::AsItIs => {
                    let direct = self.direct.take();
                    out.untold = direct.filter(|_| std::mem::take(&mut self.in_direct));
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
                out.record.clear();
                if zero {
                    head.write_zero(&mut out.record);
                    self.digest.update(&out.record);
                    out.place(number, Part::Zeros(1), self.in_direct);
                    continue;
                }
                head.write_page(&mut out.record);
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
                out.place(number, part, self.in_direct);
            }
        }
    }
}

impl Layout {
    fn clear(&mut self) {
        self.small.clear();
        self.stream.clear();
        self.memory.clear();
        self.received.clear();
        self.untold = None;
    }

    /// Puts a page where it goes; its record lies in `record`.
    fn place(&mut self, number: u64, part: Part, direct: bool) {
        if direct {
            self.place_in_memory(number, part);
            return;
        }
        let record = std::mem::take(&mut self.record);
        self.literal(&record);
        self.record = record;
        // A zero page's record is complete without a content.
        if !matches!(part, Part::Zeros(_)) {
            self.stream.push(part);
        }
    }

    fn place_in_memory(&mut self, number: u64, part: Part) {
        match self.memory.last_mut() {
            Some(run) if run.end == number => {
                run.end += 1;
                match (run.parts.last_mut(), part) {
                    (Some(Part::Zeros(count)), Part::Zeros(_)) => *count += 1,
                    _ => run.parts.push(part),
                }
            }
            _ => self.memory.push(MemoryRun {
                first: number,
                end: number + 1,
                parts: vec![part],
            }),
        }
    }

    fn literal(&mut self, bytes: &[u8]) {
        let from = self.small.len();
        self.small.extend_from_slice(bytes);
        match self.stream.last_mut() {
            Some(Part::Small(_, end)) => *end = self.small.len(),
            _ => self.stream.push(Part::Small(from, self.small.len())),
        }
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

    /// The block that the records which follow this piece are of, if QEMU does not know it: it was given none of the
    /// records before them. It must be given one that names the block.
    #[must_use]
    pub fn untold_block(&self) -> Option<&'a [u8]> {
        self.layout.untold.as_deref()
    }

    /// Whether the source had asked for its pages.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked
    }
}
