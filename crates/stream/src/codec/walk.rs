//! Takes a whole stream as a relay would, in pieces of any size, and puts it together again from what was found: what
//! tests and fuzzing hold the parser to.

use super::{Item, LONGEST_ITEM, Opaque, PAGE, Parser, Step};

/// What was found in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The stream as it is made again from the items, and from the rest that is passed through.
    pub rebuilt: Vec<u8>,
    /// All pages in order.
    pub pages: Vec<Found>,
    /// Bytes before the rest that is passed through.
    pub interpreted: usize,
    /// Bytes interpreted when the last section of `ram` was first known to have begun.
    pub last_section: Option<usize>,
    /// Why the rest is passed through.
    pub end: End,
}

/// A page, and at which byte of the stream its content (or its record, if it is zero) begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// [`Item::Page`].
    Page {
        /// As in the item.
        offset: u64,
        /// Position in the stream.
        at: usize,
    },
    /// [`Item::Zero`].
    Zero {
        /// As in the item.
        offset: u64,
        /// Position in the stream.
        at: usize,
    },
}

/// Why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The stream was over before the end of `ram`.
    Short,
    /// [`Step::RamEnded`].
    RamEnded,
    /// [`Step::PassThrough`].
    PassThrough(Opaque),
}

/// A promise that the parser did not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An item of no bytes, or of more than there are.
    #[error("an item of {consumed} bytes in an input of {given} bytes")]
    Consumed {
        /// What the parser said.
        consumed: usize,
        /// What it was given.
        given: usize,
    },
    /// It wanted more than any item has.
    #[error("more bytes wanted than any item has")]
    Greedy,
    /// It said something else when asked again.
    #[error("an end that did not last")]
    Fickle,
    /// The last section was said not to have begun, after it had.
    #[error("the last section was taken back")]
    LastSection,
}

/// Walks through `stream`. `piece` says how many bytes come next, each time more are needed; at least one comes.
///
/// # Errors
/// A broken promise of the parser.
pub fn walk(stream: &[u8], mut piece: impl FnMut() -> usize) -> Result<Walk, Broken> {
    let mut parser = Parser::new();
    let mut walk = Walk {
        rebuilt: Vec::with_capacity(stream.len()),
        pages: vec![],
        interpreted: 0,
        last_section: None,
        end: End::Short,
    };
    let (mut at, mut there) = (0, 0);
    loop {
        let given = &stream[at..there];
        let step = parser.next(given);
        let end = match step {
            Step::Item { item, consumed } => {
                if consumed == 0 || consumed > given.len() {
                    let given = given.len();
                    return Err(Broken::Consumed { consumed, given });
                }
                walk.take(item, at);
                at += consumed;
                None
            }
            Step::More if given.len() >= LONGEST_ITEM => return Err(Broken::Greedy),
            Step::More if there == stream.len() => Some(End::Short),
            Step::More => {
                there = there.saturating_add(piece().max(1)).min(stream.len());
                None
            }
            Step::RamEnded => Some(End::RamEnded),
            Step::PassThrough(ref reason) => Some(End::PassThrough(reason.clone())),
        };
        match (walk.last_section, parser.in_last_section()) {
            (None, true) => walk.last_section = Some(at),
            (Some(_), false) => return Err(Broken::LastSection),
            _ => {}
        }
        if let Some(end) = end {
            if end != End::Short && parser.next(&stream[at..]) != parser.next(&[]) {
                return Err(Broken::Fickle);
            }
            walk.rebuilt.extend_from_slice(&stream[at..]);
            walk.interpreted = at;
            walk.end = end;
            return Ok(walk);
        }
    }
}

impl Walk {
    fn take(&mut self, item: Item<'_>, at: usize) {
        match item {
            Item::Literal(bytes) => self.rebuilt.extend_from_slice(bytes),
            Item::Page { head, content } => {
                let offset = head.offset;
                let before = self.rebuilt.len();
                head.write_page(&mut self.rebuilt);
                let at = at + self.rebuilt.len() - before;
                self.rebuilt.extend_from_slice(content);
                self.pages.push(Found::Page { offset, at });
            }
            Item::Zero { head } => {
                let offset = head.offset;
                head.write_zero(&mut self.rebuilt);
                self.pages.push(Found::Zero { offset, at });
            }
        }
    }

    /// How many pages with content were found, and how many of zeroes.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let zero = |page: &&Found| matches!(page, Found::Zero { .. });
        let zeroes = self.pages.iter().filter(zero).count();
        (self.pages.len() - zeroes, zeroes)
    }

    /// Whether the pages are exactly those of a plan, in a stream that it wrote.
    #[must_use]
    pub fn agrees_with(&self, expected: &[super::plan::Expected], stream: &[u8]) -> bool {
        use super::plan::{Expected, content};
        let agrees = |(found, expected): (&Found, &Expected)| match (found, expected) {
            (Found::Page { offset, at }, Expected::Page(wanted, seed)) => {
                offset == wanted && stream.get(*at..at + PAGE) == Some(&content(*seed))
            }
            (Found::Zero { offset, .. }, Expected::Zero(wanted)) => offset == wanted,
            _ => false,
        };
        self.pages.len() == expected.len() && self.pages.iter().zip(expected).all(agrees)
    }
}
