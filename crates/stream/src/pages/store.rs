//! The page store: a bounded file of pages that came by in migrations, used by several relays at once.
//!
//! Pages are written in segments that belong to one VM each. A store that is full gives up the segment of the VM seen
//! longest ago. Data is written and read by calls, never mapped, so that a full disk is an error of one write.
//!
//! Visits reserve room in a segment by one atomic step and write afterwards, without a lock. A visit that is so slow
//! that its segment was given to another VM meanwhile spoils pages of that one: they are misses.

mod visit;

pub use visit::Visit;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, Flock, FlockArg, fallocate},
};

use super::{
    PAGE, PageHash, PageKey,
    layout::{Layout, SEGMENT_PAGES, SMALLEST},
    table::{Counter, Table},
};
use crate::ByteCount;

/// The first bytes of the file: what it is, and its version.
const MAGIC: &[u8; 16] = b"GODWIT pages 1\0\0";
/// The lock is held for microseconds; a holder that was stopped in the middle must not stop other migrations.
const LOCK_WITHIN: Duration = Duration::from_millis(250);
/// Making a store takes its index's blocks from the disk.
const MADE_WITHIN: Duration = Duration::from_secs(10);
/// How often another segment is tried if others take them away: then the store is too small for all of them.
const ATTEMPTS: usize = 3;

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
    /// Another process does not get on.
    #[error("the page store is locked by another process; is a relay stopped?")]
    Busy,
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
    /// The file's lock does not keep out the threads that share this opening of it.
    turn: Mutex<()>,
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
            turn: Mutex::default(),
            table,
            layout,
            key: key.clone(),
        })))
    }

    /// Begins a visit of this VM: its pages count as seen now. It goes on where the last one ended.
    pub fn begin(&self, vm: [u8; 16]) -> Result<Visit, StoreError> {
        let inner = self.0.clone();
        let now = now();
        let table = &inner.table;
        let mut open = None;
        let lock = inner.lock()?;
        for segment in 0..used_segments(table, inner.layout) {
            let row = table.row(segment);
            if row.vm == vm {
                table.see(segment, now);
                if row.used < SEGMENT_PAGES {
                    open = Some((segment, row.generation));
                }
            }
        }
        drop(lock);
        Ok(Visit {
            inner,
            vm,
            seen: now,
            segment: open,
        })
    }

    /// Copies a page out, if it is there and its hash proves it.
    pub fn get(&self, hash: PageHash, page: &mut [u8; PAGE]) -> bool {
        let Inner {
            file,
            table,
            layout,
            key,
            ..
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
        let mut found = [0; 40];
        file.read_exact_at(&mut found, 0).map_err(failed)?;
        let segments = found[32..].try_into().map_or(0, u64::from_le_bytes);
        let length = file.metadata().map_err(failed)?.len();
        let layout = Layout::of_size(length)
            .filter(|layout| found.starts_with(MAGIC) && layout.segments == segments);
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

/// The right to give out segments: for one thread of one process. Released by the kernel if that is killed.
struct Lock<'a> {
    _file: Flock<File>,
    _turn: MutexGuard<'a, ()>,
}

impl Inner {
    fn lock(&self) -> Result<Lock<'_>, StoreError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.file.try_clone().map_err(StoreError::Write)?;
        let locked = flock(file, LOCK_WITHIN).map_err(StoreError::Write)?;
        Ok(Lock {
            _file: locked.ok_or(StoreError::Busy)?,
            _turn: turn,
        })
    }
}

/// Locks a file against other openings of it; `None` if that takes too long.
fn flock(mut file: File, within: Duration) -> io::Result<Option<Flock<File>>> {
    let until = Instant::now() + within;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(Some(locked)),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => {
                file = again;
                std::thread::sleep(Duration::from_micros(100));
            }
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        }
    }
}

fn open_if_it_fits(path: &Path, layout: Layout, key: &PageKey) -> Option<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let data = file.metadata().ok()?;
    // Pages are secrets: a file that others may read is not gone on with.
    let private = data.is_file() && data.mode() & 0o077 == 0;
    let mut found = [0; 40];
    file.read_exact_at(&mut found, 0).ok()?;
    let fits = private && found == header(layout, key) && data.len() == layout.length();
    fits.then_some(file)
}

/// Makes the file beside its place and gives it its name when it is whole; one process at a time, so that all that
/// begin together have the same.
fn create(path: &Path, layout: Layout, key: &PageKey) -> io::Result<File> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let locked = flock(File::open(folder)?, MADE_WITHIN)?;
    let _locked = locked.ok_or(io::ErrorKind::ResourceBusy)?;
    if let Some(file) = open_if_it_fits(path, layout, key) {
        return Ok(file);
    }
    let temp = path.with_extension("new");
    // Of one who was killed.
    let _ = std::fs::remove_file(&temp);
    let made = (|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
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

#[cfg(test)]
mod tests;
