//! The source's half: from pieces of QEMU's stream to chunks that can be asked about and sent.

use crate::{
    codec::{Item, PAGE, Parser, Step, write_page_head, write_zero},
    pages::{PageHash, PageKey},
    wire::batch::{MAX_PAGES, OpWriter},
};

/// A stretch of QEMU's stream and what it consists of. The contents of its pages stay where they were read to.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// How many of the bytes are taken apart.
    parsed: usize,
    ops: OpWriter,
    /// Where its pages' contents begin, and their hashes.
    pages: Vec<(usize, PageHash)>,
    /// How many records of zero pages it has.
    pub zeros: u64,
}

/// What follows in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More of the memory.
    Memory,
    /// Something that is not taken apart: the devices, or what is not understood.
    Rest,
}

impl Chunk {
    /// The most bytes in a chunk: its pages fit into one Query, its ops and contents into one Batch.
    pub const SIZE: usize = 512 << 10;

    /// Where to read more of the stream to, up to [`Self::SIZE`] in all.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes may still be read into it.
    #[must_use]
    pub fn room(&self) -> usize {
        Self::SIZE - self.bytes.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Its ops, as they are sent.
    pub fn ops(&mut self) -> &[u8] {
        self.ops.finish()
    }

    /// The hashes of its pages, as a Query asks for them.
    #[must_use]
    pub fn query(&self) -> Vec<u8> {
        self.pages.iter().flat_map(|(_, hash)| hash.0).collect()
    }

    /// How many pages it has.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Its pages.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = (PageHash, &[u8; PAGE])> {
        self.pages.iter().map(|(at, hash)| {
            let (content, _) = self.bytes[*at..]
                .split_first_chunk()
                .expect("a page was found there");
            (*hash, content)
        })
    }

    /// Moves what is not taken apart yet to another, empty chunk.
    pub fn hand_over(&mut self, next: &mut Self) {
        next.bytes.extend_from_slice(&self.bytes[self.parsed..]);
        self.bytes.truncate(self.parsed);
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parsed = 0;
        self.ops.clear();
        self.pages.clear();
        self.zeros = 0;
    }
}

/// Takes the stream apart and its digest.
pub struct Gatherer {
    parser: Parser,
    key: PageKey,
    digest: blake3::Hasher,
    /// A record as the digest takes it.
    record: Vec<u8>,
}

impl Gatherer {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(key: PageKey) -> Self {
        Self {
            parser: Parser::new(),
            key,
            digest: blake3::Hasher::new(),
            record: Vec::new(),
        }
    }

    /// Takes apart what has been read into the chunk since the last time, as far as it is whole. A delta (XBZRLE) ends
    /// that for good: QEMU would apply it to a page that the destination's relay may have written anew meanwhile.
    pub fn gather(&mut self, chunk: &mut Chunk) -> Progress {
        loop {
            let input = &chunk.bytes[chunk.parsed..];
            // A full Query ends the chunk; what is left goes into the next.
            if input.is_empty() || chunk.pages.len() == MAX_PAGES {
                return Progress::Memory;
            }
            let (item, consumed) = match self.parser.next(input) {
                Step::Item { item, consumed } => (item, consumed),
                Step::More => return Progress::Memory,
                Step::RamEnded | Step::PassThrough(_) => return Progress::Rest,
            };
            match item {
                Item::Literal(bytes) if is_delta(bytes) => return Progress::Rest,
                Item::Literal(bytes) => {
                    self.digest.update(bytes);
                    chunk.ops.literal(bytes);
                }
                Item::Zero { head } => {
                    self.record.clear();
                    write_zero(head, &mut self.record);
                    self.digest.update(&self.record);
                    chunk.ops.zero(head);
                    chunk.zeros += 1;
                }
                Item::Page { head, content } => {
                    let hash = self.key.hash(content);
                    self.record.clear();
                    write_page_head(head, &mut self.record);
                    self.record.extend_from_slice(&hash.0);
                    self.digest.update(&self.record);
                    chunk.ops.page(head);
                    chunk.pages.push((chunk.parsed + consumed - PAGE, hash));
                }
            }
            chunk.parsed += consumed;
        }
    }

    /// Whether the VM stands still: what comes now prolongs the blackout.
    #[must_use]
    pub fn in_blackout(&self) -> bool {
        self.parser.in_last_section()
    }

    /// The digest so far.
    #[must_use]
    pub fn into_digest(self) -> blake3::Hasher {
        self.digest
    }
}

/// Whether a literal is the record of a page's delta: a word of offset and flags, in which only this one says 0x40
/// (0x20: the block is the one before), and at least three bytes. Everything else that begins with a zero byte, as an
/// offset does, is at most nine bytes long.
fn is_delta(literal: &[u8]) -> bool {
    let word = literal
        .first_chunk()
        .map_or(0, |word| u64::from_be_bytes(*word));
    literal.len() > 10 && literal[0] == 0 && word & 0xfdf == 0x40
}
