//! The destination's half: from Batches back to QEMU's stream.

use std::{collections::VecDeque, io::IoSlice};

use crate::{
    codec::PAGE,
    pages::{PageHash, PageKey},
    transfer::RestoreError,
    wire::batch::{ASKED, Body, Op, PACKED, header_of, zero_of},
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
    layout: Layout,
}

/// Where the parts of a piece lie.
#[derive(Debug, Default)]
struct Layout {
    /// Literals, headers and zero pages' records.
    small: Vec<u8>,
    parts: Vec<Part>,
    /// Hashes of the contents that came, in order.
    received: Vec<PageHash>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    /// A range of `small`.
    Small(usize, usize),
    /// A page of the contents that came.
    Received(usize),
    /// A page of the contents that were found.
    Found(usize),
}

/// A restored piece of the stream.
pub struct Piece<'a> {
    layout: &'a Layout,
    contents: &'a [[u8; PAGE]],
    found: &'a [[u8; PAGE]],
    asked: bool,
}

impl Restorer {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(key: PageKey) -> Self {
        Self {
            key,
            digest: blake3::Hasher::new(),
            answered: VecDeque::new(),
            spare: Vec::new(),
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
        // It can be used again when the piece is gone, and lies here until then.
        self.spare.push(answered);
        let answered = self.spare.last().ok_or(RestoreError::Unasked)?;
        let found = answered.found.iter().flatten().count();
        if answered.found.len() != body.pages
            || found != answered.contents.len()
            || found + body.contents.len() != body.pages
        {
            return Err(RestoreError::Unasked);
        }
        self.layout
            .lay_out(&body, answered, &self.key, &mut self.digest);
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
}

impl Layout {
    fn lay_out(
        &mut self,
        body: &Body<'_>,
        answered: &Answered,
        key: &PageKey,
        digest: &mut blake3::Hasher,
    ) {
        self.small.clear();
        self.parts.clear();
        self.received.clear();
        let mut answers = answered.found.iter();
        let mut found = 0..;
        let mut page = |layout: &mut Self, digest: &mut blake3::Hasher| {
            let (part, hash) = match answers.next() {
                Some(Some(hash)) => (Part::Found(found.next().unwrap_or(0)), *hash),
                _ => {
                    let at = layout.received.len();
                    let hash = key.hash(&body.contents[at]);
                    layout.received.push(hash);
                    (Part::Received(at), hash)
                }
            };
            layout.parts.push(part);
            digest.update(&hash.0);
        };
        for op in body.ops() {
            match op {
                Op::Literal(bytes) => self.small(digest, bytes),
                Op::Zeros { first, count } => {
                    for number in first..first + count as u64 {
                        self.small(digest, &zero_of(number));
                    }
                }
                Op::Pages { first, count } => {
                    for number in first..first + count as u64 {
                        self.small(digest, &header_of(number));
                        page(self, digest);
                    }
                }
                Op::Content => page(self, digest),
            }
        }
    }

    fn small(&mut self, digest: &mut blake3::Hasher, bytes: &[u8]) {
        digest.update(bytes);
        let from = self.small.len();
        self.small.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some(Part::Small(_, end)) => *end = self.small.len(),
            _ => self.parts.push(Part::Small(from, self.small.len())),
        }
    }
}

impl<'a> Piece<'a> {
    /// Its bytes, in order.
    #[must_use]
    pub fn slices(&self) -> Vec<IoSlice<'a>> {
        let slice = |part: &Part| match *part {
            Part::Small(from, to) => IoSlice::new(&self.layout.small[from..to]),
            Part::Received(at) => IoSlice::new(&self.contents[at]),
            Part::Found(at) => IoSlice::new(&self.found[at]),
        };
        self.layout.parts.iter().map(slice).collect()
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
