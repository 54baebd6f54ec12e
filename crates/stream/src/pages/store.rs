//! The page store: a bounded file of pages that came by in migrations, used by several relays at once.
//!
//! Pages are written in segments that belong to one VM each. A store that is full gives up the segment of the VM seen
//! longest ago. Data is written and read by calls, never mapped, so that a full disk is an error of one write.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    fcntl::{FallocateFlags, Flock, FlockArg, fallocate},
    sys::uio::pwritev,
};

use super::{
    PAGE, PageHash, PageKey, beside,
    layout::{Layout, SEGMENT_PAGES, SMALLEST},
    table::{Counter, Place, Row, Table},
};
use crate::ByteCount;

/// The first bytes of the file: what it is, and its version.
const MAGIC: &[u8; 16] = b"GODWIT pages 1\0\0";

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The size is too small.
    #[error("a page store needs at least {} MiB; give it more, or 0 for none", SMALLEST >> 20)]
    TooSmall,
    /// The file cannot be made, read or written.
    #[error("cannot use the file {path}; check the disk's space and the file's rights")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A page cannot be written.
    #[error("cannot write to the page store; is the disk full?")]
    Write(#[source] io::Error),
}

/// A page store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PageStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    table: Table,
    layout: Layout,
    key: PageKey,
}

/// What a store holds and how it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// How many pages it has room for.
    pub capacity: u64,
    /// How many pages it holds.
    pub pages: u64,
    /// Pages that were looked for and found.
    pub hits: u64,
    /// Pages that were looked for and not found.
    pub misses: u64,
    /// Pages that were found damaged, and therefore not given out.
    pub bad: u64,
    /// Whose pages it holds, the VM seen longest ago first.
    pub vms: Vec<VmPages>,
}

/// What a store holds of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmPages {
    /// The VM's id.
    pub vm: [u8; 16],
    /// How many pages came with its migrations.
    pub pages: u64,
    /// When it was last seen, in seconds since 1970.
    pub seen: u64,
}

/// The header's fixed part: magic 16 | key's fingerprint 16 | segments u64.
fn header(layout: Layout, key: &PageKey) -> [u8; 40] {
    let mut header = [0; 40];
    header[..16].copy_from_slice(MAGIC);
    header[16..32].copy_from_slice(&key.fingerprint());
    header[32..].copy_from_slice(&layout.segments.to_le_bytes());
    header
}

impl PageStore {
    /// Opens the store in this file. One of another key, size or version, or a damaged one, is replaced by a new one;
    /// who has that open goes on with what is then a file without a name.
    pub fn create_or_open(path: &Path, size: ByteCount, key: &PageKey) -> Result<Self, StoreError> {
        let layout = Layout::of_size(size.0).ok_or(StoreError::TooSmall)?;
        let failed = |source| StoreError::File {
            path: path.display().to_string(),
            source,
        };
        let file = match open_if_it_fits(path, layout, key) {
            Some(file) => file,
            None => create(path, layout, key).map_err(failed)?,
        };
        let table = Table::map(&file, layout).map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            file,
            table,
            layout,
            key: key.clone(),
        })))
    }

    /// Begins a visit of this VM: its pages count as seen now. One visit at a time for each opening of the file.
    pub fn begin(&self, vm: [u8; 16]) -> Result<Visit, StoreError> {
        let inner = self.0.clone();
        let now = now();
        let table = &inner.table;
        let lock = lock(&inner.file)?;
        for segment in 0..used_segments(table, inner.layout) {
            let row = table.row(segment);
            if row.vm == vm {
                table.set_row(segment, &Row { seen: now, ..row });
            }
        }
        drop(lock);
        Ok(Visit {
            inner,
            vm,
            seen: now,
            segment: None,
        })
    }

    /// Copies a page out, if it is there and its hash proves it.
    pub fn get(&self, hash: PageHash, page: &mut [u8; PAGE]) -> bool {
        let Inner {
            file,
            table,
            layout,
            key,
        } = &*self.0;
        let Some(place) = table.find(hash) else {
            table.count(Counter::Misses, 1);
            return false;
        };
        let at = layout.page(place.segment, place.page.into());
        let good = file.read_exact_at(page, at).is_ok() && key.hash(page) == hash;
        table.count(if good { Counter::Hits } else { Counter::Bad }, 1);
        if !good {
            // So that it is stored again.
            table.forget(hash);
        }
        good
    }

    /// Whether the index names the page; it may turn out to be damaged or gone.
    #[must_use]
    pub fn contains(&self, hash: PageHash) -> bool {
        self.0.table.find(hash).is_some()
    }

    /// What the store holds and how it did.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        stats(&self.0.table, self.0.layout)
    }

    /// What the store in this file holds, whatever its key; `None` if there is none.
    pub fn look(path: &Path) -> Result<Option<StoreStats>, StoreError> {
        let failed = |source| StoreError::File {
            path: path.display().to_string(),
            source,
        };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut segments = [0; 8];
        file.read_exact_at(&mut segments, 32).map_err(failed)?;
        let segments = u64::from_le_bytes(segments);
        let length = file.metadata().map_err(failed)?.len();
        let layout = Layout::of_size(length).filter(|layout| layout.segments == segments);
        let strange = || failed(io::ErrorKind::InvalidData.into());
        let layout = layout.ok_or_else(strange)?;
        let table = Table::map(&file, layout).map_err(failed)?;
        Ok(Some(stats(&table, layout)))
    }
}

fn stats(table: &Table, layout: Layout) -> StoreStats {
    let mut vms = BTreeMap::<[u8; 16], VmPages>::new();
    for segment in 0..used_segments(table, layout) {
        let row = table.row(segment);
        let vm = vms.entry(row.vm).or_insert(VmPages {
            vm: row.vm,
            pages: 0,
            seen: row.seen,
        });
        vm.pages += row.used.min(SEGMENT_PAGES);
        vm.seen = vm.seen.max(row.seen);
    }
    let mut vms: Vec<_> = vms.into_values().collect();
    vms.sort_by_key(|vm| vm.seen);
    StoreStats {
        capacity: layout.pages(),
        pages: vms.iter().map(|vm| vm.pages).sum(),
        hits: table.counter(Counter::Hits),
        misses: table.counter(Counter::Misses),
        bad: table.counter(Counter::Bad),
        vms,
    }
}

fn used_segments(table: &Table, layout: Layout) -> u64 {
    table.counter(Counter::Used).min(layout.segments)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Keeps other processes out for a moment; released by the kernel if this one is killed.
fn lock(file: &File) -> Result<Flock<File>, StoreError> {
    let file = file.try_clone().map_err(StoreError::Write)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| StoreError::Write(error.into()))
}

fn open_if_it_fits(path: &Path, layout: Layout, key: &PageKey) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut found = [0; 40];
    file.read_exact_at(&mut found, 0).ok()?;
    let fits = found == header(layout, key) && file.metadata().ok()?.len() == layout.length();
    fits.then_some(file)
}

/// Makes the file beside its place and gives it its name when it is whole.
fn create(path: &Path, layout: Layout, key: &PageKey) -> io::Result<File> {
    let temp = beside(path);
    let made = (|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temp)?;
        file.set_len(layout.length())?;
        // What is mapped has its blocks, so that a full disk cannot kill who writes to it.
        let mapped = i64::try_from(layout.data()).map_err(io::Error::other)?;
        fallocate(&file, FallocateFlags::empty(), 0, mapped)?;
        file.write_all_at(&header(layout, key), 0)?;
        std::fs::rename(&temp, path)?;
        Ok(file)
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    made
}

/// A migration of one VM, whose pages go into the store.
#[derive(Debug)]
pub struct Visit {
    inner: Arc<Inner>,
    vm: [u8; 16],
    seen: u64,
    /// Where its next pages go, and how many are there.
    segment: Option<(u64, Row)>,
}

impl Visit {
    /// Stores pages, except those that are there already. After an error some may be stored.
    pub fn put(&mut self, pages: &[(PageHash, &[u8; PAGE])]) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let table = &inner.table;
        let new = pages.iter().filter(|(hash, _)| table.find(*hash).is_none());
        let new: Vec<_> = new.copied().collect();
        let mut rest = &new[..];
        while !rest.is_empty() {
            let (segment, row) = self.room()?;
            let fit = rest.len().min((SEGMENT_PAGES - row.used) as usize);
            let (now, later) = rest.split_at(fit);
            self.write(segment, row, now)?;
            rest = later;
        }
        Ok(())
    }

    /// A segment of this visit that is not full.
    fn room(&mut self) -> Result<(u64, Row), StoreError> {
        if let Some((segment, row)) = self.segment {
            // Another visit may have taken it, if the store is that small.
            let mine = self.inner.table.row(segment);
            if mine.generation == row.generation && row.used < SEGMENT_PAGES {
                return Ok((segment, row));
            }
        }
        let taken = self.take_segment()?;
        self.segment = Some(taken);
        Ok(taken)
    }

    /// Takes a segment: one never used, else that of the VM seen longest ago.
    fn take_segment(&self) -> Result<(u64, Row), StoreError> {
        let Inner {
            file,
            table,
            layout,
            ..
        } = &*self.inner;
        let lock = lock(file)?;
        let used = used_segments(table, *layout);
        let segment = if used < layout.segments {
            table.count(Counter::Used, 1);
            used
        } else {
            (0..used).min_by_key(|at| table.row(*at).seen).unwrap_or(0)
        };
        let row = Row {
            vm: self.vm,
            seen: self.seen,
            generation: table.row(segment).generation.wrapping_add(1).max(1),
            used: 0,
        };
        table.set_row(segment, &row);
        drop(lock);
        Ok((segment, row))
    }

    fn write(
        &mut self,
        segment: u64,
        mut row: Row,
        pages: &[(PageHash, &[u8; PAGE])],
    ) -> Result<(), StoreError> {
        let Inner {
            file,
            table,
            layout,
            ..
        } = &*self.inner;
        let slices: Vec<_> = pages.iter().map(|(_, page)| IoSlice::new(*page)).collect();
        let at = layout.page(segment, row.used);
        write_all(file, &slices, at).map_err(StoreError::Write)?;
        for (hash, _) in pages {
            let place = Place {
                segment,
                generation: row.generation,
                page: row.used as u16,
            };
            table.enter(*hash, place);
            row.used += 1;
        }
        table.set_row(segment, &row);
        self.segment = Some((segment, row));
        Ok(())
    }
}

/// Writes whole pages; a short write is gone on with where it ended.
fn write_all(file: &File, mut pages: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
    while !pages.is_empty() {
        let offset = i64::try_from(at).map_err(io::Error::other)?;
        let written = pwritev(file, pages, offset)?;
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

#[cfg(test)]
mod tests;
