//! A migration of one VM, whose pages go into the store.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io::{self, IoSlice},
    sync::Arc,
};

use nix::{errno::Errno, sys::uio::pwritev};

use super::{ATTEMPTS, Inner, StoreError, used_segments};
use crate::pages::{
    PAGE, PageHash,
    table::{Counter, Place, Row},
};

/// A migration of one VM.
#[derive(Debug)]
pub struct Visit {
    pub(super) inner: Arc<Inner>,
    pub(super) vm: [u8; 16],
    pub(super) seen: u64,
    /// Where its next pages go, and the generation that this segment had.
    pub(super) segment: Option<(u64, u16)>,
}

/// Room for pages that nobody else has.
struct Room {
    segment: u64,
    generation: u16,
    first: u64,
    count: usize,
}

impl Visit {
    /// Stores pages, except those that are there already. After an error some may be stored.
    pub fn put(&mut self, pages: &[(PageHash, &[u8; PAGE])]) -> Result<(), StoreError> {
        let mut batch = HashSet::with_capacity(pages.len());
        let table = &self.inner.table;
        let is_new =
            |(hash, _): &&(PageHash, _)| batch.insert(*hash) && table.find(*hash).is_none();
        let new: Vec<_> = pages.iter().filter(is_new).copied().collect();
        let mut rest = &new[..];
        while !rest.is_empty() {
            let Some(room) = self.room(rest.len())? else {
                return Ok(());
            };
            let (now, later) = rest.split_at(room.count);
            self.write(&room, now)?;
            rest = later;
        }
        Ok(())
    }

    /// Room for at most so many pages; none if others take all segments away.
    fn room(&mut self, pages: usize) -> Result<Option<Room>, StoreError> {
        for _ in 0..ATTEMPTS {
            if let Some((segment, generation)) = self.segment {
                let reserved = self.inner.table.reserve(segment, generation, pages as u64);
                if let Some((first, count)) = reserved {
                    return Ok(Some(Room {
                        segment,
                        generation,
                        first,
                        count: count as usize,
                    }));
                }
            }
            self.segment = Some(self.take_segment()?);
        }
        Ok(None)
    }

    /// Takes a segment: one never used, else that of the VM seen longest ago.
    fn take_segment(&self) -> Result<(u64, u16), StoreError> {
        let Inner { table, layout, .. } = &*self.inner;
        let lock = self.inner.lock()?;
        let used = used_segments(table, *layout);
        let segment = if used < layout.segments {
            table.count(Counter::Used, 1);
            used
        } else {
            self.victim(used)
        };
        let generation = table.row(segment).generation.wrapping_add(1).max(1);
        let row = Row {
            vm: self.vm,
            seen: self.seen,
            generation,
            used: 0,
        };
        table.set_row(segment, &row);
        drop(lock);
        Ok((segment, generation))
    }

    /// The segment of the VM seen longest ago. If there are only its own, any of them but the newest: always the same
    /// one would keep outdated pages for ever, and the next in turn would be the one that is asked for next, since a VM
    /// comes by in the same order each time.
    fn victim(&self, used: u64) -> u64 {
        let table = &self.inner.table;
        let age = |at: &u64| {
            let row = table.row(*at);
            (row.seen, row.vm == self.vm)
        };
        let oldest = (0..used).min_by_key(age).unwrap_or(0);
        if table.row(oldest).vm != self.vm {
            return oldest;
        }
        let newest = self.segment.map(|(segment, _)| segment);
        let own = || (0..used).filter(|at| Some(*at) != newest && table.row(*at).vm == self.vm);
        let any = RandomState::new().hash_one(oldest) as usize;
        own().nth(any % own().count().max(1)).unwrap_or(oldest)
    }

    fn write(&self, room: &Room, pages: &[(PageHash, &[u8; PAGE])]) -> Result<(), StoreError> {
        let Inner {
            file,
            table,
            layout,
            ..
        } = &*self.inner;
        let slices: Vec<_> = pages.iter().map(|(_, page)| IoSlice::new(*page)).collect();
        let at = layout.page(room.segment, room.first);
        write_all(file, &slices, at).map_err(StoreError::Write)?;
        for (page, (hash, _)) in (room.first..).zip(pages) {
            let place = Place {
                segment: room.segment,
                generation: room.generation,
                page: page as u16,
            };
            table.enter(*hash, place);
        }
        Ok(())
    }
}

/// Writes whole pages; a short write is gone on with where it ended.
fn write_all(file: &std::fs::File, mut pages: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
    while !pages.is_empty() {
        let offset = i64::try_from(at).map_err(io::Error::other)?;
        let written = match pwritev(file, pages, offset) {
            Err(Errno::EINTR) => continue,
            written => written?,
        };
        // What is left of a page is written again with it.
        let whole = written / PAGE;
        if whole == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        at += (whole * PAGE) as u64;
        pages = &pages[whole..];
    }
    Ok(())
}
