//! Where the parts of a restored piece lie, before any of them is copied anywhere.

use crate::pages::PageHash;

/// Where the parts of a piece lie.
#[derive(Debug, Default)]
pub struct Layout {
    /// Literals, and records without contents.
    pub small: Vec<u8>,
    /// What QEMU gets.
    pub stream: Vec<Part>,
    /// What goes into the guest's memory: runs of pages.
    pub memory: Vec<MemoryRun>,
    /// Hashes of the contents that came, in order.
    pub received: Vec<PageHash>,
    /// A record, as the digest takes it.
    pub record: Vec<u8>,
}

/// Pages that follow each other: from one number up to before another.
#[derive(Debug)]
pub struct MemoryRun {
    pub first: u64,
    pub end: u64,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// A range of `small`.
    Small(usize, usize),
    /// A page of the contents that came.
    Received(usize),
    /// A page of the contents that were found.
    Found(usize),
    /// So many zero pages.
    Zeros(usize),
}

impl Layout {
    pub fn clear(&mut self) {
        self.small.clear();
        self.stream.clear();
        self.memory.clear();
        self.received.clear();
    }

    /// Puts a page where it goes; its record lies in `record`.
    pub fn place(&mut self, number: u64, part: Part, direct: bool) {
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

    pub fn literal(&mut self, bytes: &[u8]) {
        let from = self.small.len();
        self.small.extend_from_slice(bytes);
        match self.stream.last_mut() {
            Some(Part::Small(_, end)) => *end = self.small.len(),
            _ => self.stream.push(Part::Small(from, self.small.len())),
        }
    }
}
