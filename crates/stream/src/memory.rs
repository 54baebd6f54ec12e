//! The memory of a guest that is being received, written by the relay itself.
//!
//! QEMU's memory is a shared file, so that a page can go there by one write, in place of a copy into a socket, out of
//! it and into the memory. QEMU sees a stream in which no page of this block occurs, and leaves it alone: a guest that
//! is being received has run nothing yet. In QEMU's own way a zero page costs it a page fault; here it is part of a
//! long write.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
};

use nix::sys::uio::pwritev;

use crate::{
    MemoryConfig,
    codec::{Head, PAGE},
    transfer::Run,
};

/// A memory that cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("the guest's memory cannot be opened, so QEMU gets its pages")]
pub struct MemoryError(#[from] io::Error);

/// A guest's memory.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    size: u64,
    block: String,
}

/// The kernel takes so many slices at once (IOV_MAX).
const SLICES: usize = 1024;

impl GuestMemory {
    /// Opens it. To be called before root's rights are dropped.
    pub fn open(config: &MemoryConfig) -> Result<Self, MemoryError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&config.file)?;
        let size = file.metadata()?.len();
        Ok(Self {
            file,
            size,
            block: config.block.clone(),
        })
    }

    /// What QEMU calls it in the stream.
    #[must_use]
    pub fn block(&self) -> &str {
        &self.block
    }

    /// The record of the block's first page as it is now: QEMU learns from it which block the records after it are of,
    /// and writes what is there already.
    pub fn first_page_record(&self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut record = Vec::new();
        let head = Head {
            offset: 0,
            block: Some(block),
        };
        head.write_page(&mut record);
        let content = record.len();
        record.resize(content + PAGE, 0);
        self.file.read_exact_at(&mut record[content..], 0)?;
        Ok(record)
    }

    /// Writes pages that follow each other. Nothing is written outside of the memory.
    pub fn write(&self, mut run: Run<'_>) -> io::Result<()> {
        let length: usize = run.slices.iter().map(|slice| slice.len()).sum();
        if run.offset.saturating_add(length as u64) > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a page lies outside of the guest's memory",
            ));
        }
        let mut at = i64::try_from(run.offset).map_err(io::Error::other)?;
        let mut left = &mut run.slices[..];
        while !left.is_empty() {
            let some = left.len().min(SLICES);
            let written = pwritev(&self.file, &left[..some], at)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += i64::try_from(written).map_err(io::Error::other)?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_where_they_belong_and_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        std::fs::write(&path, [9; 4 * 4096]).unwrap();
        let memory = GuestMemory::open(&MemoryConfig {
            file: path.clone(),
            block: "pc.ram".into(),
        })
        .unwrap();
        let run = |offset, pages: &'static [u8]| Run {
            offset,
            slices: pages.chunks(4096).map(IoSlice::new).collect(),
        };
        static TWO: [u8; 8192] = [3; 8192];
        memory.write(run(4096, &TWO)).unwrap();
        assert!(memory.write(run(3 * 4096, &TWO)).is_err());
        assert!(memory.write(run(u64::MAX - 4095, &TWO)).is_err());
        let content = std::fs::read(&path).unwrap();
        let bytes: Vec<_> = content.chunks(4096).map(|page| page[17]).collect();
        assert_eq!((content.len(), bytes), (4 * 4096, vec![9, 3, 3, 9]));
    }
}
