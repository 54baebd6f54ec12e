//! QEMU's precopy migration stream, split into items so that a relay can replace what pages contain.
//!
//! ```text
//! QEVM ─ configuration ─ commands ─ ram START ─ ram PART … ─ ram END ─ devices …
//! └────────────── Literal ────────────────┘ └ Page, Zero, Literal ┘└ RamEnded: pass through
//! ```
//! No input or output happens here, nothing is copied, and no memory is asked for in the steady state. The bytes of
//! all items one after another are the stream exactly. What is not understood ends the interpretation and never the
//! migration: [`Step::PassThrough`]. So a relay is correct on any input, only its gain depends on what is recognized.
//!
//! The format was read in QEMU 7.2 to 10.0 (`migration/savevm.c`, `migration/ram.c`), without multifd's channels.

mod format;
mod opaque;
mod parser;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod writer;

pub use opaque::Opaque;
pub use parser::Parser;

/// Bytes of a page of the guest's memory, the only size that is interpreted.
pub const PAGE: usize = 4096;

/// Bytes of the longest item: given as many, [`Parser::next`] never answers [`Step::More`].
pub const LONGEST_ITEM: usize = 8 + 1 + u8::MAX as usize + PAGE;

/// What the beginning of the input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// The item covers `consumed` bytes of the input.
    Item {
        /// What it is.
        item: Item<'a>,
        /// How many bytes of the input it stands for; at least one.
        consumed: usize,
    },
    /// More bytes are needed: nothing was consumed. At the end of the stream: what is left is to be passed through.
    More,
    /// The END section of `ram` is complete (including its footer); the rest of the stream is devices, to be passed
    /// through. Nothing was consumed. Every later call says the same.
    RamEnded,
    /// Not understood from here on: pass the rest through. Nothing was consumed. Every later call says the same.
    PassThrough(Opaque),
}

/// A piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Passed on as it is: headers, marks of sections, xbzrle records. It may be any piece of such bytes.
    Literal(&'a [u8]),
    /// The record of a page.
    Page {
        /// Which page.
        head: Head<'a>,
        /// What it contains.
        content: &'a [u8; PAGE],
    },
    /// The record of a page of zeroes.
    Zero {
        /// Which page.
        head: Head<'a>,
    },
}

/// Which page a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The page's offset in its block, in bytes, a multiple of [`PAGE`].
    pub offset: u64,
    /// The block's name, if the record says it; else it is the block of the record before.
    pub block: Option<&'a [u8]>,
}

impl Head<'_> {
    fn write(self, flags: u64, to: &mut Vec<u8>) {
        let same = self.block.map_or(format::CONTINUE, |_| 0);
        to.extend_from_slice(&(self.offset | flags | same).to_be_bytes());
        if let Some(name) = self.block {
            debug_assert!(name.len() <= usize::from(u8::MAX));
            to.push(name.len() as u8);
            to.extend_from_slice(name);
        }
    }

    /// Writes the part of a page's record that comes before its content.
    pub fn write_page(self, to: &mut Vec<u8>) {
        self.write(format::PAGE_FLAG, to);
    }

    /// Writes the record of a page of zeroes.
    pub fn write_zero(self, to: &mut Vec<u8>) {
        self.write(format::ZERO, to);
        to.push(0);
    }
}
