//! The pages of a template's image: which 4 KiB of the file have which hash, so that a destination reads them from the
//! datastore. The index is made once for a template and never trusted.
//!
//! ```text
//! magic 16 | key's fingerprint 16 | image's length u64 | count u64 | entries, sorted by hash
//!   entry = hash 16 | block u32                block = offset in the image file / 4096; integers little-endian
//! ```

use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::Command,
};

use serde::Deserialize;

use super::{PAGE, PageHash, PageKey};

const MAGIC: &[u8; 16] = b"GODWIT blocks 1\0";
const HEADER: usize = 48;
const ENTRY: usize = 20;
/// The largest index that is read: 13 GiB of different blocks.
const LARGEST: u64 = 64 << 20;
/// As many entries are that large.
const MOST: usize = (LARGEST as usize - HEADER) / ENTRY;
/// How much of the image is read at once.
const PIECE: u64 = 1 << 20;

/// An index that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file cannot be read or written.
    #[error("cannot use {path}; check the file and its datastore")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The index belongs to another image or key, or is none.
    #[error(
        "{0} is not the index of this image under the farm's key; remove it, and it is made anew"
    )]
    Foreign(String),
    /// The image's extents cannot be found out.
    #[error("{tool} does not say where the image's data lies: {reason}")]
    Map {
        /// The program.
        tool: String,
        /// What it said.
        reason: String,
    },
    /// The image has more different blocks than an index may.
    #[error("the image has too many different blocks for an index; its clones' pages are sent")]
    TooLarge,
}

/// Which pages a template's image has.
#[derive(Debug)]
pub struct TemplateIndex {
    image: File,
    key: PageKey,
    entries: Vec<[u8; ENTRY]>,
}

/// A part of the image, as `qemu-img map --output=json` tells it.
#[derive(Debug, Deserialize)]
struct Extent {
    start: u64,
    length: u64,
    data: bool,
    #[serde(default)]
    compressed: bool,
    /// Where it lies in the file; absent where that has no meaning.
    offset: Option<u64>,
}

impl TemplateIndex {
    /// Indexes an image with `tool` (qemu-img), into the file `to`: whole or not at all.
    pub fn build(tool: &Path, image: &Path, key: &PageKey, to: &Path) -> Result<(), IndexError> {
        let file = File::open(image).map_err(failed(image))?;
        let length = file.metadata().map_err(failed(image))?.len();
        let mut entries = Vec::new();
        for extent in extents(tool, image)? {
            for (from, to) in blocks(&extent, length) {
                hash_blocks(&file, from, to, key, &mut entries).map_err(failed(image))?;
                // The same content may be there often; what is more than fits must not fill the memory either.
                if entries.len() > 2 * MOST {
                    sort_out(&mut entries);
                }
                if entries.len() > 2 * MOST {
                    return Err(IndexError::TooLarge);
                }
            }
        }
        sort_out(&mut entries);
        if entries.len() > MOST {
            return Err(IndexError::TooLarge);
        }
        let mut bytes = header(key, length).to_vec();
        bytes.extend((entries.len() as u64).to_le_bytes());
        bytes.extend(entries.as_flattened());
        publish(&bytes, to).map_err(failed(to))
    }

    /// Opens an index and its image.
    pub fn open(index: &Path, image: &Path, key: &PageKey) -> Result<Self, IndexError> {
        let file = File::open(index).map_err(failed(index))?;
        let length = file.metadata().map_err(failed(index))?.len();
        let image_file = File::open(image).map_err(failed(image))?;
        let image_length = image_file.metadata().map_err(failed(image))?.size();
        let entries = read_entries(file, length, &header(key, image_length));
        match entries.map_err(failed(index))? {
            Some(entries) => Ok(Self {
                image: image_file,
                key: key.clone(),
                entries,
            }),
            None => Err(IndexError::Foreign(index.display().to_string())),
        }
    }

    /// Whether there is an index of this image under this key, by its first bytes and its length.
    #[must_use]
    pub fn fits(index: &Path, image: &Path, key: &PageKey) -> bool {
        let count = || {
            let mut file = File::open(index)?;
            let length = file.metadata()?.len();
            let image_length = std::fs::metadata(image)?.size();
            read_count(&mut file, length, &header(key, image_length))
        };
        matches!(count(), Ok(Some(_)))
    }

    /// Whether the index names this page; the image may have changed.
    #[must_use]
    pub fn contains(&self, hash: PageHash) -> bool {
        self.block(hash).is_some()
    }

    /// Reads a page from the image, if it is there and its hash proves it.
    pub fn get(&self, hash: PageHash, page: &mut [u8; PAGE]) -> bool {
        self.block(hash).is_some_and(|block| {
            let at = u64::from(block) * PAGE as u64;
            self.image.read_exact_at(page, at).is_ok() && self.key.hash(page) == hash
        })
    }

    fn block(&self, hash: PageHash) -> Option<u32> {
        let found = self.entries.binary_search_by_key(&hash, hash_of).ok()?;
        let (_, block) = self.entries[found].split_last_chunk()?;
        Some(u32::from_le_bytes(*block))
    }
}

/// Sorts by hash, and keeps each content once.
fn sort_out(entries: &mut Vec<[u8; ENTRY]>) {
    entries.sort_unstable();
    entries.dedup_by_key(|entry| hash_of(entry));
}

/// Writes a file beside its place and gives it its name when it is whole and on the disk. Others may be at the same, on
/// this host or another.
fn publish(bytes: &[u8], to: &Path) -> io::Result<()> {
    let unique = RandomState::new().hash_one(std::process::id());
    let temp = to.with_extension(format!("new-{unique:016x}"));
    let made = File::create_new(&temp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temp, to)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    made
}

/// The entries of an index of this length; `None` if it does not begin with `header` or is not whole.
fn read_entries(
    mut file: impl Read,
    length: u64,
    header: &[u8],
) -> io::Result<Option<Vec<[u8; ENTRY]>>> {
    let Some(count) = read_count(&mut file, length, header)? else {
        return Ok(None);
    };
    let mut entries = vec![[0; ENTRY]; count];
    file.read_exact(entries.as_flattened_mut())?;
    Ok(Some(entries))
}

/// How many entries follow; `None` as for the entries themselves.
fn read_count(file: &mut impl Read, length: u64, header: &[u8]) -> io::Result<Option<usize>> {
    let body = length
        .checked_sub(HEADER as u64)
        .map(|body| body as usize)
        .filter(|body| length <= LARGEST && body % ENTRY == 0);
    let Some(body) = body else { return Ok(None) };
    let mut begin = [0; HEADER];
    file.read_exact(&mut begin)?;
    let count = body / ENTRY;
    let is_whole = begin[HEADER - 8..] == (count as u64).to_le_bytes();
    Ok((begin[..HEADER - 8] == *header && is_whole).then_some(count))
}

fn hash_of(entry: &[u8; ENTRY]) -> PageHash {
    let (hash, _) = entry
        .split_first_chunk()
        .expect("an entry is longer than a hash");
    PageHash(*hash)
}

fn header(key: &PageKey, image_length: u64) -> [u8; HEADER - 8] {
    let mut header = [0; HEADER - 8];
    header[..16].copy_from_slice(MAGIC);
    header[16..32].copy_from_slice(&key.fingerprint());
    header[32..].copy_from_slice(&image_length.to_le_bytes());
    header
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> IndexError + use<'_> {
    |source| IndexError::File {
        path: path.display().to_string(),
        source,
    }
}

fn extents(tool: &Path, image: &Path) -> Result<Vec<Extent>, IndexError> {
    let unknown = |reason: String| IndexError::Map {
        tool: tool.display().to_string(),
        reason,
    };
    let output = Command::new(tool)
        .args(["map", "--output=json", "--"])
        .arg(image)
        .output()
        .map_err(|error| unknown(error.to_string()))?;
    if !output.status.success() {
        return Err(unknown(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| unknown(error.to_string()))
}

/// The parts of the file that hold whole blocks of an extent, each at most [`PIECE`] long.
fn blocks(extent: &Extent, file_length: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
    let page = PAGE as u64;
    let range = extent
        .offset
        .filter(|offset| extent.data && !extent.compressed && offset % page == extent.start % page)
        .map(|offset| {
            let end = offset.saturating_add(extent.length).min(file_length);
            (offset.next_multiple_of(page), end - end % page)
        })
        .unwrap_or_default();
    (range.0..range.1)
        .step_by(PIECE as usize)
        .map(move |from| (from, range.1.min(from + PIECE)))
}

/// Adds an entry for each block that is not all zeros.
fn hash_blocks(
    file: &File,
    from: u64,
    to: u64,
    key: &PageKey,
    entries: &mut Vec<[u8; ENTRY]>,
) -> io::Result<()> {
    let mut piece = vec![0; (to - from) as usize];
    file.read_exact_at(&mut piece, from)?;
    let (blocks, _) = piece.as_chunks::<PAGE>();
    for (at, block) in blocks.iter().enumerate() {
        let number = u32::try_from(from / PAGE as u64 + at as u64);
        if let (Ok(number), true) = (number, block != &[0; PAGE]) {
            let mut entry = [0; ENTRY];
            entry[..16].copy_from_slice(&key.hash(block).0);
            entry[16..].copy_from_slice(&number.to_le_bytes());
            entries.push(entry);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
