//! The source's half: from pieces of QEMU's stream to chunks that can be asked about and sent.

use crate::{
    codec::{Item, PAGE, Parser, Step},
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

/// The word that ends the records of a section (RAM_SAVE_FLAG_EOS in QEMU's migration/ram.c).
const END_OF_RECORDS: [u8; 8] = 0x10_u64.to_be_bytes();

/// Takes the stream apart and its digest.
pub struct Gatherer {
    parser: Parser,
    key: PageKey,
    digest: blake3::Hasher,
    /// A record as the digest takes it.
    record: Vec<u8>,
    /// Whether the next record may be of "the block before".
    in_records: bool,
    /// Why the memory is not taken apart to its end.
    opaque: Option<String>,
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
            in_records: false,
            opaque: None,
        }
    }

    /// Takes apart what has been read into the chunk since the last time, as far as it is whole.
    pub fn gather(&mut self, chunk: &mut Chunk) -> Progress {
        loop {
            if self.opaque.is_some() {
                return Progress::Rest;
            }
            let input = &chunk.bytes[chunk.parsed..];
            // A full Query ends the chunk; what is left goes into the next.
            if input.is_empty() || chunk.pages.len() == MAX_PAGES {
                return Progress::Memory;
            }
            let (item, consumed) = match self.parser.next(input) {
                Step::Item { item, consumed } => (item, consumed),
                Step::More => return Progress::Memory,
                Step::RamEnded => return Progress::Rest,
                Step::PassThrough(why) => {
                    return self.give_up(why.to_string(), chunk);
                }
            };
            if self.parser.seen_deltas() {
                // A delta is against what QEMU at the destination has in memory at that point of the stream.
                return self.give_up("it has xbzrle records".to_owned(), chunk);
            }
            match item {
                Item::Literal(bytes) => {
                    self.in_records &= bytes != END_OF_RECORDS;
                    self.digest.update(bytes);
                    chunk.ops.literal(bytes);
                }
                Item::Zero { head } => {
                    self.in_records = true;
                    self.record.clear();
                    head.write_zero(&mut self.record);
                    self.digest.update(&self.record);
                    chunk.ops.zero(head);
                    chunk.zeros += 1;
                }
                Item::Page { head, content } => {
                    self.in_records = true;
                    let hash = self.key.hash(content);
                    self.record.clear();
                    head.write_page(&mut self.record);
                    self.record.extend_from_slice(&hash.0);
                    self.digest.update(&self.record);
                    chunk.ops.page(head);
                    chunk.pages.push((chunk.parsed + consumed - PAGE, hash));
                }
            }
            chunk.parsed += consumed;
        }
    }

    /// What follows is not taken apart. Between sections that is for nobody to know: the next one names its blocks.
    fn give_up(&mut self, why: String, chunk: &mut Chunk) -> Progress {
        self.opaque = Some(why);
        if self.in_records {
            chunk.ops.as_it_is();
        }
        Progress::Rest
    }

    /// Whether the VM stands still: what comes now prolongs the blackout.
    #[must_use]
    pub fn in_blackout(&self) -> bool {
        self.parser.in_last_section()
    }

    /// The digest so far, and why the memory was not taken apart to its end, if it was not.
    #[must_use]
    pub fn into_end(self) -> (blake3::Hasher, Option<String>) {
        (self.digest, self.opaque)
    }
}
