//! Where things lie in a page store's file: pure arithmetic.
//!
//! ```text
//! header (one page) | index: buckets of 8 entries | segments' table | data: segments of 1024 pages
//!  entry   = hash 16 | segment u32 | generation u16 | place in it u16       24 bytes
//!  segment = vm 16 | last seen u64 | generation and pages used u64          32 bytes
//! ```
//! The index has room for a quarter more pages than there are; with the table that is just over 30 bytes a page.

use crate::codec::PAGE;

/// Pages in a segment.
pub const SEGMENT_PAGES: u64 = 1024;
/// Entries in a bucket.
pub const BUCKET: u64 = 8;
/// Bytes of an entry.
pub const ENTRY: u64 = 24;
/// Bytes of a segment's row in the table.
pub const SEGMENT_ROW: u64 = 32;
/// Bytes of the header.
pub const HEADER: u64 = PAGE as u64;
/// The smallest store in bytes: with fewer segments than that, one VM's pages would push out its own.
pub const SMALLEST: u64 = 8 << 20;

/// The numbers that follow from a store's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How many segments there are.
    pub segments: u64,
    /// How many buckets the index has.
    pub buckets: u64,
}

impl Layout {
    /// The layout of a store of at most `size` bytes, all included; `None` if that is too small.
    #[must_use]
    pub fn of_size(size: u64) -> Option<Self> {
        let of = |segments: u64| Self {
            segments,
            buckets: (segments * SEGMENT_PAGES * 5 / 4).div_ceil(BUCKET),
        };
        // A first guess without the index, then what fits.
        let most = size / (SEGMENT_PAGES * PAGE as u64);
        let fits = |layout: &Self| layout.length() <= size;
        let guess =
            size.saturating_sub(HEADER + PAGE as u64) / (SEGMENT_PAGES * (PAGE as u64 + 31));
        let layout = (guess.saturating_sub(1)..=most.min(u64::from(u32::MAX)))
            .map(of)
            .take_while(fits)
            .last()?;
        (size >= SMALLEST && layout.segments > 0).then_some(layout)
    }

    /// How many pages it has room for.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.segments * SEGMENT_PAGES
    }

    /// Where the segments' table begins.
    #[must_use]
    pub fn table(&self) -> u64 {
        HEADER + self.buckets * BUCKET * ENTRY
    }

    /// Where the data begins: what lies before it is mapped.
    #[must_use]
    pub fn data(&self) -> u64 {
        (self.table() + self.segments * SEGMENT_ROW).next_multiple_of(PAGE as u64)
    }

    /// Where a page lies.
    #[must_use]
    pub fn page(&self, segment: u64, place: u64) -> u64 {
        self.data() + (segment * SEGMENT_PAGES + place) * PAGE as u64
    }

    /// The file's length.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.page(self.segments, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_store_keeps_its_size_and_its_index_is_small(size in SMALLEST..1 << 42) {
            let layout = Layout::of_size(size).unwrap();
            prop_assert!(layout.length() <= size);
            // No whole segment more would fit.
            prop_assert!(size - layout.length() < (PAGE as u64 + 64) * SEGMENT_PAGES + 2 * HEADER);
            prop_assert!(layout.data() - HEADER <= 32 * layout.pages());
        }
    }

    #[test]
    fn too_small_is_none() {
        assert_eq!(Layout::of_size(SMALLEST - 1), None);
        assert_eq!(Layout::of_size(0), None);
    }
}
