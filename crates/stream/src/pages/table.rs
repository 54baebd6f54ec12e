//! The mapped part of a page store's file: header, index and the segments' table, as words that several processes
//! read and write without waiting for each other.
//!
//! Nothing is read as anything but whole words, and every word is atomic, so there is no undefined behaviour in a torn
//! entry: it names a page that its hash does not verify, or none.

use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{
    PageHash,
    layout::{BUCKET, ENTRY, HEADER, Layout, SEGMENT_PAGES, SEGMENT_ROW},
};

/// Words of an entry and of a segment's row.
const ENTRY_WORDS: u64 = ENTRY / 8;
const ROW_WORDS: u64 = SEGMENT_ROW / 8;

/// Words of the header that change.
#[derive(Debug, Clone, Copy)]
pub enum Counter {
    /// Segments that were ever used.
    Used = 16,
    /// Pages found.
    Hits = 17,
    /// Pages not found.
    Misses = 18,
    /// Pages found damaged.
    Bad = 19,
}

/// Where a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: u64,
    /// The segment's generation when the page was put there; another one now means that the page is gone.
    pub generation: u16,
    /// The page in the segment.
    pub page: u16,
}

/// A segment's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose pages it has.
    pub vm: [u8; 16],
    /// When that VM was last seen, in seconds since 1970.
    pub seen: u64,
    /// Counts its uses, wrapping; never 0 once used.
    pub generation: u16,
    /// How many pages it has.
    pub used: u64,
}

impl Place {
    fn word(self) -> u64 {
        self.segment << 32 | u64::from(self.generation) << 16 | u64::from(self.page)
    }

    fn of_word(word: u64) -> Self {
        Self {
            segment: word >> 32,
            generation: (word >> 16) as u16,
            page: word as u16,
        }
    }
}

/// The mapped words.
#[derive(Debug)]
pub struct Table {
    words: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
    layout: Layout,
}

// SAFETY: the memory is shared and only ever accessed as atomic words.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// Maps the part before the data of a file that has its full length and its blocks.
    pub fn map(file: &File, layout: Layout) -> io::Result<Self> {
        let bytes = usize::try_from(layout.data())
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh shared mapping at no fixed address affects no other memory.
        let address = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )?
        };
        Ok(Self {
            words: address.cast(),
            bytes,
            layout,
        })
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let at = at as usize;
        assert!(at < self.bytes.get() / 8, "word {at} is outside the table");
        // SAFETY: within the mapping, which is page-aligned and lives as long as `self`; all accesses are atomic.
        unsafe { self.words.add(at).as_ref() }
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Counter, more: u64) {
        self.word(counter as u64).fetch_add(more, Relaxed);
    }

    /// Reads a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.word(counter as u64).load(Relaxed)
    }

    fn entry(&self, bucket: u64, at: u64) -> u64 {
        HEADER / 8 + (bucket * BUCKET + at) * ENTRY_WORDS
    }

    /// The two buckets in which a page can be.
    fn buckets(&self, hash: PageHash) -> [u64; 2] {
        let [one, other] = halves(hash);
        [one % self.layout.buckets, other % self.layout.buckets]
    }

    /// Where the index says that a page is, if its segment was not used anew since.
    pub fn find(&self, hash: PageHash) -> Option<Place> {
        let wanted = halves(hash);
        self.buckets(hash)
            .into_iter()
            .flat_map(|bucket| (0..BUCKET).map(move |at| self.entry(bucket, at)))
            .filter(|entry| [0, 1].map(|half| self.word(entry + half).load(Relaxed)) == wanted)
            .map(|entry| Place::of_word(self.word(entry + 2).load(Acquire)))
            .find(|place| self.is_current(*place))
    }

    /// Takes a page's entry out.
    pub fn forget(&self, hash: PageHash) {
        let wanted = halves(hash);
        for bucket in self.buckets(hash) {
            for entry in (0..BUCKET).map(|at| self.entry(bucket, at)) {
                if [0, 1].map(|half| self.word(entry + half).load(Relaxed)) == wanted {
                    self.word(entry + 2).store(0, Release);
                }
            }
        }
    }

    fn is_current(&self, place: Place) -> bool {
        place.generation != 0
            && place.segment < self.layout.segments
            && self.row(place.segment).generation == place.generation
    }

    /// Enters a page: in the emptier of its buckets, in place of what is gone, else of a neighbour that it picks.
    pub fn enter(&self, hash: PageHash, place: Place) {
        let [one, other] = self.buckets(hash);
        let free = |bucket| {
            (0..BUCKET)
                .map(move |at| self.entry(bucket, at))
                .filter(|entry| {
                    !self.is_current(Place::of_word(self.word(entry + 2).load(Relaxed)))
                })
        };
        let fuller = free(one).count() < free(other).count();
        let (first, second) = if fuller { (other, one) } else { (one, other) };
        let entry = free(first)
            .next()
            .or_else(|| free(second).next())
            .unwrap_or_else(|| self.entry(first, u64::from(hash.0[15]) % BUCKET));
        // Nothing is found here while it is changed.
        self.word(entry + 2).store(0, Release);
        for (half, value) in halves(hash).into_iter().enumerate() {
            self.word(entry + half as u64).store(value, Release);
        }
        self.word(entry + 2).store(place.word(), Release);
    }

    fn row_at(&self, segment: u64) -> u64 {
        self.layout.table() / 8 + segment * ROW_WORDS
    }

    /// A segment's row.
    pub fn row(&self, segment: u64) -> Row {
        let at = self.row_at(segment);
        let [a, b, seen, state] = [0, 1, 2, 3].map(|word| self.word(at + word).load(Acquire));
        let mut vm = [0; 16];
        vm[..8].copy_from_slice(&a.to_ne_bytes());
        vm[8..].copy_from_slice(&b.to_ne_bytes());
        Row {
            vm,
            seen,
            generation: (state >> 32) as u16,
            used: state & 0xffff_ffff,
        }
    }

    /// The segment's VM was seen at this time.
    pub fn see(&self, segment: u64, now: u64) {
        self.word(self.row_at(segment) + 2).store(now, Release);
    }

    /// Takes room for up to so many pages in a segment, if it is still of this generation: where they begin, and how
    /// many there is room for. Nobody else is given the same room.
    pub fn reserve(&self, segment: u64, generation: u16, pages: u64) -> Option<(u64, u64)> {
        let state = self.word(self.row_at(segment) + 3);
        let room = |state: u64| {
            let used = state & 0xffff_ffff;
            let count = SEGMENT_PAGES.checked_sub(used)?.min(pages);
            let mine = (state >> 32) as u16 == generation && count > 0;
            mine.then_some((used, count))
        };
        let before = state
            .fetch_update(Release, Acquire, |state| Some(state + room(state)?.1))
            .ok()?;
        room(before)
    }

    /// Writes a segment's row.
    pub fn set_row(&self, segment: u64, row: &Row) {
        let at = self.row_at(segment);
        let [a, b] = halves(PageHash(row.vm));
        let state = u64::from(row.generation) << 32 | row.used;
        for (word, value) in [a, b, row.seen, state].into_iter().enumerate() {
            self.word(at + word as u64).store(value, Release);
        }
    }
}

/// Sixteen bytes as two words.
fn halves(PageHash(bytes): PageHash) -> [u64; 2] {
    let (words, _) = bytes.as_chunks();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and nothing of it is borrowed any more.
        let _ = unsafe { munmap(self.words.cast(), self.bytes.get()) };
    }
}
