//! The payload of a Batch: a stretch of QEMU's stream in which page contents are replaced by where to get them.
//!
//! ```text
//! payload  = flags u8 | unpacked length u32, if PACKED | body        PACKED: the body is one zstd frame
//! body     = length of ops u32 | op ... | content ...                contents of the missing pages, in order
//! op       = 0 literal    varint length | bytes
//!          | 1 zeros      varint first | varint count                records of zero pages
//!          | 2 pages      varint first | varint count                records of pages
//!          | 3 block      varint length | name                       the next record is the first of this block
//!          | 4 as it is                                              the stream goes on as it is, with records
//! ```
//! `first` is a page's number in its block (offset / 4096); varints are LEB128. The pages are those of the Query that
//! this Batch answers to (flag ASKED), in the same order: the ones which the destination has are not in the contents.
//! Without ASKED all are.

use crate::codec::{Head, PAGE};

/// The most stream bytes that one Batch may stand for.
pub const MAX_EXPANDED: usize = 1 << 20;
/// The most pages in one Query and its Batch.
pub const MAX_PAGES: usize = 128;
/// The longest body in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The body is one zstd frame.
pub const PACKED: u8 = 1;
/// A Query for the pages came before.
pub const ASKED: u8 = 2;

/// A body that does not follow the rules above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It ends within an op, or its contents are no whole pages.
    #[error("it is truncated")]
    Truncated,
    /// An op, a number or a count that cannot be.
    #[error("it has an op that cannot be")]
    BadOp,
    /// It stands for more than [`MAX_EXPANDED`] bytes or [`MAX_PAGES`] pages.
    #[error("it stands for too much")]
    TooMuch,
    /// The pages and the contents do not add up.
    #[error("its pages and contents do not add up")]
    Miscounted,
}

/// One part of a Batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Bytes of the stream as they are.
    Literal(&'a [u8]),
    /// `count` records of zero pages from the page number `first` on.
    Zeros {
        /// The first page's number.
        first: u64,
        /// How many follow each other.
        count: usize,
    },
    /// `count` records of pages from the page number `first` on.
    Pages {
        /// The first page's number.
        first: u64,
        /// How many follow each other.
        count: usize,
    },
    /// The record that follows says that it is of this block, and so are those after it.
    Block(&'a [u8]),
    /// From here on the stream is passed on as it is, in the middle of a section's records: the next one may be of the
    /// block before.
    AsItIs,
}

/// Writes ops, joining what belongs together.
#[derive(Debug, Default)]
pub struct OpWriter {
    ops: Vec<u8>,
    literal: Vec<u8>,
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    zero: bool,
    first: u64,
    count: usize,
}

impl OpWriter {
    /// Bytes of the stream.
    pub fn literal(&mut self, bytes: &[u8]) {
        self.end_run();
        self.literal.extend_from_slice(bytes);
    }

    /// A zero page's record.
    pub fn zero(&mut self, head: Head<'_>) {
        self.record(true, head);
    }

    /// A page's record.
    pub fn page(&mut self, head: Head<'_>) {
        self.record(false, head);
    }

    /// The stream goes on as it is.
    pub fn as_it_is(&mut self) {
        self.end_run();
        self.end_literal();
        self.ops.push(4);
    }

    fn record(&mut self, zero: bool, head: Head<'_>) {
        let number = head.offset / PAGE as u64;
        if let Some(name) = head.block {
            self.end_run();
            self.end_literal();
            self.ops.push(3);
            write_varint(&mut self.ops, name.len() as u64);
            self.ops.extend_from_slice(name);
        }
        if let Some(run) = &mut self.run
            && run.zero == zero
            && run.first + run.count as u64 == number
        {
            run.count += 1;
            return;
        }
        self.end_run();
        self.end_literal();
        self.run = Some(Run {
            zero,
            first: number,
            count: 1,
        });
    }

    fn end_run(&mut self) {
        if let Some(Run { zero, first, count }) = self.run.take() {
            self.ops.push(if zero { 1 } else { 2 });
            write_varint(&mut self.ops, first);
            write_varint(&mut self.ops, count as u64);
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.ops.push(0);
            write_varint(&mut self.ops, self.literal.len() as u64);
            self.ops.append(&mut self.literal);
        }
    }

    /// Whether nothing was written since the beginning or [`Self::clear`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.literal.is_empty() && self.run.is_none()
    }

    /// All ops. More may follow, but they will not be joined to these.
    pub fn finish(&mut self) -> &[u8] {
        self.end_run();
        self.end_literal();
        &self.ops
    }

    /// Begins anew, keeping the memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.literal.clear();
        self.run = None;
    }
}

/// A body, taken apart and checked as a whole: its ops cannot fail any more.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    ops: &'a [u8],
    /// How many pages its ops name.
    pub pages: usize,
    /// The missing pages' contents.
    pub contents: &'a [[u8; PAGE]],
}

impl<'a> Body<'a> {
    /// Takes a body apart. Nothing is allocated for what it claims.
    pub fn decode(body: &'a [u8]) -> Result<Self, BatchError> {
        let (length, rest) = body.split_first_chunk().ok_or(BatchError::Truncated)?;
        let length =
            usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BatchError::Truncated)?;
        let (ops, contents) = rest.split_at_checked(length).ok_or(BatchError::Truncated)?;
        let (contents, []) = contents.as_chunks() else {
            return Err(BatchError::Truncated);
        };
        let (mut pages, mut expanded) = (0_usize, 0_usize);
        let mut rest = ops;
        while !rest.is_empty() {
            let (op, after) = read_op(rest)?;
            rest = after;
            let (more_pages, bytes) = match op {
                Op::Literal(bytes) => (0, bytes.len()),
                Op::Zeros { count, .. } => (0, count.saturating_mul(ZERO_RECORD)),
                Op::Pages { count, .. } => (count, count.saturating_mul(RECORD)),
                Op::Block(name) => (0, 1 + name.len()),
                Op::AsItIs => (0, 0),
            };
            pages = pages.saturating_add(more_pages);
            expanded = expanded.saturating_add(bytes);
            if pages > MAX_PAGES || expanded > MAX_EXPANDED {
                return Err(BatchError::TooMuch);
            }
        }
        if contents.len() > pages {
            return Err(BatchError::Miscounted);
        }
        Ok(Self {
            ops,
            pages,
            contents,
        })
    }

    /// Its ops, in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'a>> + use<'a> {
        let mut rest = self.ops;
        std::iter::from_fn(move || {
            // `decode` has seen that every op is sound.
            let (op, after) = read_op(rest).ok()?;
            rest = after;
            Some(op)
        })
    }
}

/// The sizes of records in the stream, names left out.
const RECORD: usize = 8 + PAGE;
const ZERO_RECORD: usize = 9;
/// The longest name of a block.
const NAME: usize = u8::MAX as usize;

fn read_op(bytes: &[u8]) -> Result<(Op<'_>, &[u8]), BatchError> {
    let (code, rest) = bytes.split_first().ok_or(BatchError::Truncated)?;
    match code {
        0 => {
            let (length, rest) = read_count(rest)?;
            let (literal, rest) = rest.split_at_checked(length).ok_or(BatchError::Truncated)?;
            Ok((Op::Literal(literal), rest))
        }
        1 | 2 => {
            let (first, rest) = read_varint(rest)?;
            let (count, rest) = read_count(rest)?;
            let end = first
                .checked_add(count as u64)
                .and_then(|end| end.checked_mul(PAGE as u64));
            if end.is_none() {
                return Err(BatchError::BadOp);
            }
            let op = match code {
                1 => Op::Zeros { first, count },
                _ => Op::Pages { first, count },
            };
            Ok((op, rest))
        }
        3 => {
            let (length, rest) = read_count(rest)?;
            let (name, rest) = rest.split_at_checked(length).ok_or(BatchError::Truncated)?;
            if length > NAME {
                return Err(BatchError::BadOp);
            }
            Ok((Op::Block(name), rest))
        }
        4 => Ok((Op::AsItIs, rest)),
        _ => Err(BatchError::BadOp),
    }
}

fn read_count(bytes: &[u8]) -> Result<(usize, &[u8]), BatchError> {
    let (count, rest) = read_varint(bytes)?;
    match usize::try_from(count) {
        Ok(count @ 1..=MAX_EXPANDED) => Ok((count, rest)),
        _ => Err(BatchError::BadOp),
    }
}

fn write_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), BatchError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[at + 1..]));
        }
    }
    Err(BatchError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A body of these ops and so many contents.
    fn body(ops: &[u8], contents: usize) -> Vec<u8> {
        let mut body = u32::try_from(ops.len()).unwrap().to_be_bytes().to_vec();
        body.extend(ops);
        body.extend(vec![7; contents * PAGE]);
        body
    }

    #[test]
    fn neighbours_are_joined() {
        let head = |number: u64, block| Head {
            offset: number * 4096,
            block,
        };
        let mut writer = OpWriter::default();
        writer.literal(b"ab");
        writer.literal(b"c");
        writer.zero(head(5, Some(b"pc.ram")));
        for number in [6, 7] {
            writer.zero(head(number, None));
        }
        writer.page(head(8, None));
        writer.page(head(9, None));
        writer.page(head(9, None));
        writer.page(head(10, Some(b"rom")));
        let bytes = body(writer.finish(), 4);
        let decoded = Body::decode(&bytes).unwrap();
        assert_eq!((decoded.pages, decoded.contents.len()), (4, 4));
        let ops: Vec<_> = decoded.ops().collect();
        assert_eq!(
            ops,
            [
                Op::Literal(b"abc"),
                Op::Block(b"pc.ram"),
                Op::Zeros { first: 5, count: 3 },
                Op::Pages { first: 8, count: 2 },
                Op::Pages { first: 9, count: 1 },
                Op::Block(b"rom"),
                Op::Pages {
                    first: 10,
                    count: 1
                },
            ]
        );
        writer.clear();
        assert!(writer.is_empty());
    }

    proptest! {
        #[test]
        fn any_body_is_refused_or_bounded(bytes: Vec<u8>) {
            if let Ok(body) = Body::decode(&bytes) {
                prop_assert!(body.pages <= MAX_PAGES);
                prop_assert!(body.contents.len() <= body.pages);
                let zeros: usize = body.ops().map(|op| match op {
                    Op::Zeros { count, .. } => count,
                    _ => 0,
                }).sum();
                prop_assert!(zeros * 9 <= MAX_EXPANDED);
            }
        }

        #[test]
        fn any_ops_are_refused_or_bounded(ops in proptest::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..40)) {
            let bytes = body(&ops, 0);
            if let Ok(body) = Body::decode(&bytes) {
                prop_assert!(body.ops().count() <= ops.len());
            }
        }

        #[test]
        fn numbers_round_trip(number in 0_u64..1 << 52) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            prop_assert_eq!(read_varint(&bytes), Ok((number, &[][..])));
        }
    }

    #[test]
    fn what_stands_for_too_much_is_refused() {
        // 200,000 zero pages in seven bytes.
        let mut ops = vec![1, 0];
        write_varint(&mut ops, 200_000);
        assert_eq!(
            Body::decode(&body(&ops, 0)).unwrap_err(),
            BatchError::TooMuch
        );
        let ops = [2, 0, 0x81, 1];
        assert_eq!(
            Body::decode(&body(&ops, 0)).unwrap_err(),
            BatchError::TooMuch
        );
        assert_eq!(
            Body::decode(&body(&[2, 0, 1], 2)).unwrap_err(),
            BatchError::Miscounted
        );
        // A page whose offset would not fit into 64 bits.
        let mut ops = vec![2];
        write_varint(&mut ops, (1 << 52) - 1);
        ops.push(1);
        assert_eq!(Body::decode(&body(&ops, 0)).unwrap_err(), BatchError::BadOp);
    }
}
